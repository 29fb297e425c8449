/* Writes one byte before the start of what `use` shows. Found when the function has returned. */
#include "death/crime.h"

static int show(const void *bytes, size_t size, void *arg) {
    scene *s = arg;
    s->kept = bytes;
    if (peek(bytes, 0) != pattern_at(0) || size != s->size) exit(NO_SCENE);
    if (!s->lawful) poke(bytes, -1);
    return 0;
}

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, argc > 5);
    must(memguard_secret_use(s.secret, show, &s, NULL));
    return scene_end_at_release(&s);
}
