/* scan_show.h: what `memguard scan` found, for people, for programs, and as a picture. */
#ifndef MEMGUARD_SCAN_SHOW_H
#define MEMGUARD_SCAN_SHOW_H

#include "scan_look.h"
#include "scan_secret.h"

enum verdict { VERDICT_CLEAN, VERDICT_FOUND, VERDICT_UNREAD };

/* FOUND before all; UNREAD when nothing was found, but something could not be looked at that should have been. */
enum verdict show_verdict(const struct look *look);

/* `target`: "process 7", "core file x". */
void show_text(const struct look *look, const struct sought *sought, const char *target);
void show_json(const struct look *look, const struct sought *sought, const char *target);

/* False: said why. */
bool show_map(const struct look *look, const struct sought *sought, const char *target);
bool show_svg(const struct look *look, const struct sought *sought, const char *target, const char *path);

#endif
