/* Writes into a READ view. */
#include "death/crime.h"

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, 0);
    scene_borrow(&s, MEMGUARD_READ);
    ptrdiff_t at = is_how(&s, "last") ? (ptrdiff_t)s.size - 1 : 0;
    if (s.lawful) {
        peek(s.view.data, at);
    } else {
        poke(s.view.data, at);
    }
    return scene_end(&s);
}
