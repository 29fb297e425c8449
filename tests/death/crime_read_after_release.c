/* Keeps the pointer of a view and reads after the release. */
#include "death/crime.h"

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, 0);
    scene_borrow(&s, is_how(&s, "write") ? MEMGUARD_WRITE : MEMGUARD_READ);
    if (s.lawful) peek(s.kept, 0);
    must(memguard_view_release(&s.view));
    if (!s.lawful) peek(s.kept, 0);
    return scene_end(&s);
}
