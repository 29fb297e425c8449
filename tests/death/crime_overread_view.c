/* Reads behind the end of a READ view: by one byte, or by a page. */
#include "death/crime.h"

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, 0);
    scene_borrow(&s, MEMGUARD_READ);
    ptrdiff_t last = (ptrdiff_t)s.size - 1;
    if (peek(s.view.data, last) != pattern_at(s.size - 1)) return NO_SCENE;
    if (!s.lawful) peek(s.view.data, last + (is_how(&s, "page") ? page() : 1));
    return scene_end(&s);
}
