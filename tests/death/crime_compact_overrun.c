/* Writes one byte behind or before a COMPACT secret, which shares its page; found at release, or at destroy, or when
 * the vault goes. The second word of `how` says when the byte is written: in a borrow, or later by a kept pointer. */
#include "death/crime.h"

static void write_beside(const scene *s) {
    if (!s->lawful) poke(s->kept, strncmp(s->how, "behind", 6) == 0 ? (ptrdiff_t)s->size : -1);
}

static int is_late(const scene *s) {
    return strstr(s->how, "_destroy") != NULL || strstr(s->how, "_vault") != NULL || strstr(s->how, "_seal") != NULL;
}

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, argc > 5);
    scene_borrow(&s, strstr(s.how, "_read") != NULL ? MEMGUARD_READ : MEMGUARD_WRITE);
    if (!is_late(&s)) {
        write_beside(&s);
        return scene_end_at_release(&s);
    }
    must(memguard_view_release(&s.view));
    write_beside(&s);
    if (strstr(s.how, "_destroy") != NULL) must(memguard_secret_destroy(&s.secret));
    if (strstr(s.how, "_seal") != NULL) must(memguard_secret_rest(s.secret, MEMGUARD_SEALED));
    return scene_end(&s);
}
