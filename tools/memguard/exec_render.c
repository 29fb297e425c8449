/* Texts with secrets in them. A template is taken to pieces before anything is fetched, and put together piece by
 * piece straight in the file in memory that the child gets; the text with its secrets is nowhere else. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exec.h"
#include "ui.h"

struct parse {
    struct exec *exec;
    struct exec_variable *variable;
    const char *at; /* what is not parsed yet; ends with '\0' */
    const char *end;
    char *to;     /* plain text goes here, */
    char *piece;  /* and the piece at hand began here */
    bool escapes; /* \n and the like: not in files */
};

static bool fail(const char *what) {
    ui_error("--render: %s", what);
    return false;
}

static struct exec_piece *add_piece(struct exec_variable *variable) {
    size_t count = variable->pieces_count;
    struct exec_piece *pieces = reallocarray(variable->pieces, count + 1, sizeof *pieces);
    if (pieces == NULL) {
        fail("out of memory");
        return NULL;
    }
    variable->pieces = pieces;
    variable->pieces_count++;
    pieces[count] = (struct exec_piece){0};
    return &pieces[count];
}

static bool end_text(struct parse *parse) {
    if (parse->to == parse->piece) return true;
    struct exec_piece *piece = add_piece(parse->variable);
    if (piece == NULL) return false;
    piece->text = parse->piece;
    piece->size = (size_t)(parse->to - parse->piece);
    parse->piece = parse->to;
    return true;
}

/* NAME:filter:filter. Names may have colons, so words are taken for filters from the end on; before `raw` there is
 * only a name. */
static bool take_filters(const char *text, size_t *length, unsigned char filters[EXEC_FILTERS_MOST]) {
    unsigned char found[EXEC_FILTERS_MOST];
    size_t count = 0;
    for (;;) {
        const char *colon = memrchr(text, ':', *length);
        unsigned filter = colon == NULL ? 0 : exec_filter_find(colon + 1, *length - (size_t)(colon + 1 - text));
        if (filter == 0) break;
        if (count + 1 == EXEC_FILTERS_MOST) return fail("at most 3 filters for one secret");
        if (filter != EXEC_FILTER_RAW) found[count++] = (unsigned char)filter;
        *length = (size_t)(colon - text);
        if (filter == EXEC_FILTER_RAW) break;
    }
    for (size_t i = 0; i < count; i++)
        filters[i] = found[count - 1 - i];
    return true;
}

static bool parse_secret(struct parse *parse) {
    const char *text = parse->at + 1;
    const char *end = memchr(text, '}', (size_t)(parse->end - text));
    if (end == NULL) return fail("a { has no } ({{ stands for a brace)");
    if (!end_text(parse)) return false;
    struct exec_piece *piece = add_piece(parse->variable);
    size_t length = (size_t)(end - text);
    if (piece == NULL || !take_filters(text, &length, piece->filters) ||
        !exec_find_name(parse->exec, text, length, &piece->name))
        return false;
    parse->exec->names[piece->name].used = true;
    parse->at = end + 1;
    return true;
}

static bool parse_escape(struct parse *parse) {
    static const char escapes[] = "nt\\", meanings[] = "\n\t\\";
    const char *found = parse->at[1] != '\0' ? strchr(escapes, parse->at[1]) : NULL;
    if (found == NULL) return fail("behind a \\ there may be n, t or another \\");
    *parse->to++ = meanings[found - escapes];
    parse->at += 2;
    return true;
}

static bool parse_next(struct parse *parse) {
    char c = parse->at[0];
    if (c == '\\' && parse->escapes) return parse_escape(parse);
    if (c == '{' && parse->at[1] != '{') return parse_secret(parse);
    if (c == '}' && parse->at[1] != '}') return fail("a } has no { (}} stands for a brace)");
    *parse->to++ = c;
    parse->at += c == '{' || c == '}' ? 2 : 1;
    return true;
}

static bool parse_all(struct exec *exec, struct exec_variable *variable, const char *text, size_t size, bool escapes) {
    char *to = malloc(size + 1);
    if (to == NULL) return fail("out of memory");
    variable->text = to;
    struct parse parse = {exec, variable, text, text + size, to, to, escapes};
    bool good = true;
    while (good && parse.at < parse.end)
        good = parse_next(&parse);
    return good && end_text(&parse) && (variable->pieces_count > 0 || fail("the text is empty"));
}

/* All of a file, with a '\0' behind it. -1: errno. */
static ssize_t read_file(int fd, char *to) {
    size_t have = 0;
    while (have <= EXEC_TEMPLATE_MOST) {
        ssize_t got = read(fd, to + have, EXEC_TEMPLATE_MOST + 1 - have);
        if (got == 0) break;
        if (got < 0 && errno != EINTR) return -1;
        if (got > 0) have += (size_t)got;
    }
    to[have] = '\0';
    errno = EFBIG;
    return have > EXEC_TEMPLATE_MOST ? -1 : (ssize_t)have;
}

static bool parse_file(struct exec *exec, struct exec_variable *variable, const char *path) {
    char *text = malloc(EXEC_TEMPLATE_MOST + 2);
    int fd = text != NULL ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : -1;
    ssize_t size = fd >= 0 ? read_file(fd, text) : -1;
    if (size < 0) ui_error("--render: %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    bool good = size >= 0 && parse_all(exec, variable, text, (size_t)size, false);
    free(text);
    return good;
}

bool exec_render_parse(struct exec *exec, struct exec_variable *variable, const char *text) {
    if (text[0] == '@') return parse_file(exec, variable, text + 1);
    return parse_all(exec, variable, text, strlen(text), true);
}

/* ---- putting it together ---- */

static memguard_secret secret_of(const struct exec *exec, const struct exec_piece *piece) {
    return piece->secret.id != 0 ? piece->secret : exec->names[piece->name].secret;
}

static bool apply_filters(struct exec *exec, struct exec_piece *piece) {
    for (size_t i = 0; piece->filters[i] != 0; i++) {
        memguard_secret from = piece->secret, to = {0};
        bool good = exec_filter(piece->filters[i], exec->vault, secret_of(exec, piece), &to);
        memguard_auto_secret_(&from);
        piece->secret = to;
        if (!good) return false;
    }
    return true;
}

static bool measure(struct exec *exec, struct exec_piece *piece, size_t *bytes) {
    if (piece->text == NULL) {
        memguard_info info = MEMGUARD_INFO_INIT;
        if (!apply_filters(exec, piece)) return false;
        memguard_status status = memguard_secret_info(secret_of(exec, piece), &info);
        if (status != MEMGUARD_OK) {
            ui_library_error("--render", status);
            return false;
        }
        piece->size = info.bytes;
    }
    *bytes += piece->size;
    return true;
}

static bool put_piece(struct exec *exec, struct handoff *file, size_t at, struct exec_piece *piece) {
    if (piece->text != NULL) return handoff_put(file, at, piece->text, piece->size);
    bool good = handoff_put_secret(file, at, secret_of(exec, piece));
    memguard_auto_secret_(&piece->secret);
    return good;
}

bool exec_render(struct exec *exec, struct exec_variable *variable) {
    size_t bytes = 0, at = 0;
    for (size_t i = 0; i < variable->pieces_count; i++)
        if (!measure(exec, &variable->pieces[i], &bytes)) return false;
    if (!handoff_begin(&variable->file, bytes)) return false;
    for (size_t i = 0; i < variable->pieces_count; i++) {
        if (!put_piece(exec, &variable->file, at, &variable->pieces[i])) return false;
        at += variable->pieces[i].size;
    }
    return handoff_end(&variable->file);
}
