/* Reads a view after an emergency wipe, called from a signal handler. Dies, or exits with 0; 1 when it saw the secret.
 * The lawful one has its handler not wipe, and must see it. */
#include "death/crime.h"

static volatile sig_atomic_t handled, wipes;

static void handler(int number) {
    (void)number;
    if (wipes) memguard_emergency_wipe();
    handled = 1;
}

int main(int argc, char **argv) {
    scene s;
    scene_set_with(&s, argc, argv, 0, MEMGUARD_NO_THREAD); /* nobody else is at work when all is wiped */
    scene_borrow(&s, MEMGUARD_READ);
    wipes = !s.lawful;
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    if (!handled) return NO_SCENE;
    if (s.lawful) return shows_secret(s.kept, s.size) ? scene_end(&s) : NO_SCENE;
    _exit(shows_secret(s.kept, s.size) ? UNNOTICED : 0); /* the process must end without another call */
}
