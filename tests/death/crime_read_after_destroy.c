/* Keeps the pointer of a view and reads after the secret was destroyed, or after its vault was, or after a purge. */
#include "death/crime.h"

static void end_by(scene *s) {
    if (is_how(s, "vault")) {
        must(memguard_vault_destroy(&s->vault));
    } else if (is_how(s, "purge")) {
        must(memguard_vault_purge(s->vault, 0));
    } else {
        must(memguard_secret_destroy(&s->secret));
    }
}

int main(int argc, char **argv) {
    scene s;
    scene_set(&s, argc, argv, 0);
    scene_borrow(&s, MEMGUARD_READ);
    if (peek(s.kept, 0) != pattern_at(0)) return NO_SCENE;
    must(memguard_view_release(&s.view));
    end_by(&s);
    if (!s.lawful) peek(s.kept, 0);
    /* A purge begins anew and may use the page again: then it must not show the secret. */
    if (!s.lawful && is_how(&s, "purge") && !shows_secret(s.kept, s.size)) s.lawful = 1;
    return scene_end(&s);
}
