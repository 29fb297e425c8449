/* Writes behind the end of a WRITE view: by one byte, or by a page. */
#include "death/crime.h"

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, 0);
    scene_borrow(&s, MEMGUARD_WRITE);
    ptrdiff_t last = (ptrdiff_t)s.size - 1;
    poke(s.view.data, s.lawful ? last : last + (is_how(&s, "page") ? page() : 1));
    return scene_end(&s);
}
