/* Destroys, releases and closes everything twice, through copies. That is no crime: it exits with 0 either way. */
#include "death/crime.h"

static void again(memguard_status status) {
    if (status != MEMGUARD_ERR_STALE) exit(UNNOTICED);
}

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, 0);
    scene_borrow(&s, MEMGUARD_READ);
    memguard_view view = s.view;
    memguard_secret secret = s.secret;
    memguard_vault *vault = s.vault;
    must(memguard_view_release(&s.view));
    if (!s.lawful) again(memguard_view_release(&view));
    must(memguard_secret_destroy(&s.secret));
    if (!s.lawful) again(memguard_secret_destroy(&secret));
    must(memguard_vault_destroy(&s.vault));
    if (!s.lawful) again(memguard_vault_destroy(&vault));
    return 0;
}
