/* Touches a view that a purge by another thread has taken away. The lawful one gives it back and is told. */
#include "death/crime.h"

static void *purge(void *arg) {
    const scene *s = arg;
    if (memguard_vault_purge(s->vault, 10) != MEMGUARD_ERR_REVOKED) exit(NO_SCENE);
    return NULL;
}

int main(int argc, char **argv) {
    scene s;
    pthread_t thread;
    scene_set(&s, argc, argv, 0);
    scene_borrow(&s, is_how(&s, "write") ? MEMGUARD_WRITE : MEMGUARD_READ);
    if (pthread_create(&thread, NULL, purge, &s) != 0 || pthread_join(thread, NULL) != 0) return NO_SCENE;
    if (!s.lawful && is_how(&s, "write")) poke(s.kept, 0);
    if (!s.lawful) peek(s.kept, 0);
    if (memguard_view_release(&s.view) != MEMGUARD_ERR_REVOKED) return NO_SCENE;
    return scene_end(&s);
}
