/* Writes before the start of a WRITE view: by one byte, or at the start of its page. Found at release. */
#include "death/crime.h"

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, argc > 5);
    scene_borrow(&s, MEMGUARD_WRITE);
    ptrdiff_t slack = page() - (ptrdiff_t)s.size % page();
    poke(s.view.data, s.lawful ? 0 : is_how(&s, "slack") ? -slack : -1);
    return scene_end_at_release(&s);
}
