/* Reads behind the end of what `use` shows: by one byte, or by a page. */
#include "death/crime.h"

static int show(const void *bytes, size_t size, void *arg) {
    const scene *s = arg;
    ptrdiff_t last = (ptrdiff_t)size - 1;
    if (peek(bytes, last) != pattern_at(size - 1)) exit(NO_SCENE);
    if (!s->lawful) peek(bytes, last + (is_how(s, "page") ? page() : 1));
    return 0;
}

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, 0);
    must(memguard_secret_use(s.secret, show, &s, NULL));
    return scene_end(&s);
}
