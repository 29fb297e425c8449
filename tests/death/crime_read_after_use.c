/* Keeps the pointer that `use` showed and reads after it returned. The page may be there still: then it must not show
 * the bytes. Dies, or exits with 0; 1 when it saw the secret. The lawful one looks while it may, and must see it. */
#include "death/crime.h"

static int show(const void *bytes, size_t size, void *arg) {
    scene *s = arg;
    s->kept = bytes;
    return shows_secret(bytes, size) ? 0 : NO_SCENE;
}

int main(int argc, char **argv) {
    scene s;
    int seen = NO_SCENE;
    scene_set(&s, argc, argv, 0);
    must(memguard_secret_use(s.secret, show, &s, &seen));
    if (seen != 0) return NO_SCENE;
    if (!s.lawful && shows_secret(s.kept, s.size)) return UNNOTICED;
    s.lawful = 1;
    return scene_end(&s);
}
