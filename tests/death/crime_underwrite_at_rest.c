/* Writes one byte before a secret whose pages stay writable between borrows; found at destroy, freeze, or seal. */
#include "death/crime.h"

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, 0);
    scene_borrow(&s, MEMGUARD_WRITE);
    must(memguard_view_release(&s.view));
    poke(s.kept, s.lawful ? 0 : -1);
    if (is_how(&s, "destroy")) must(memguard_secret_destroy(&s.secret));
    if (is_how(&s, "freeze")) must(memguard_secret_freeze(s.secret));
    if (is_how(&s, "seal")) must(memguard_secret_rest(s.secret, MEMGUARD_SEALED));
    if (is_how(&s, "purge")) must(memguard_vault_purge(s.vault, 0));
    return scene_end(&s);
}
