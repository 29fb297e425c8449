/* Reads or writes a page before the start of a view or of what `use` shows: there is a guard, too. */
#include "death/crime.h"

static int show(const void *bytes, size_t size, void *arg) {
    const scene *s = arg;
    ptrdiff_t pages = ((ptrdiff_t)size + page() - 1) / page() * page();
    ptrdiff_t at = s->lawful ? 0 : (ptrdiff_t)size - 1 - pages;
    if (is_how(s, "write") || is_how(s, "write_use")) {
        if (!s->lawful) poke(bytes, at);
    } else {
        peek(bytes, at);
    }
    return 0;
}

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, 0);
    if (is_how(&s, "read_use") || is_how(&s, "write_use")) {
        must(memguard_secret_use(s.secret, show, &s, NULL));
        return scene_end(&s);
    }
    scene_borrow(&s, is_how(&s, "write") ? MEMGUARD_WRITE : MEMGUARD_READ);
    show(s.view.data, s.view.size, &s);
    return scene_end(&s);
}
