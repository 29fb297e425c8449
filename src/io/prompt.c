/* io/prompt: asking a person for a secret. Contract: memguard/io.h.
 *
 * The kernel edits the line: its own copy of a hidden line is wiped only in that mode, and the person's own keys work. What would
 * send a signal ends the line instead (sys/io.h), so ^C is a character that we find at its end, and no handler is needed.
 * Must not know: what terminals are made of. */
#include "core/origin.h"
#include "io/intake.h"
#include "io/outlet.h"
#include "sys/io.h"

#include <errno.h>

enum { DEFAULT_MOST = 1024, STANDARD_INPUT = 0, STANDARD_ERROR = 2, LINE_ROOM = 4096 };

struct dialog {
    int input, output;
    int opened; /* the terminal that we opened, or -1 */
    struct mg__sys_tty tty;
    const char *text;
    size_t most;
    uint32_t flags;
};

/* ---- where to ask ---- */

static void find_terminal(struct dialog *dialog, const memguard_prompt_options *options) {
    int error = 0;
    dialog->opened = -1;
    dialog->input = options->input;
    dialog->output = options->output;
    if ((options->flags & MEMGUARD_PROMPT_DESCRIPTORS) != 0) return;
    dialog->opened = mg__sys_tty_open(&error);
    dialog->input = dialog->opened >= 0 ? dialog->opened : STANDARD_INPUT;
    dialog->output = dialog->opened >= 0 ? dialog->opened : STANDARD_ERROR;
}

static void leave_terminal(const struct dialog *dialog) {
    if (dialog->opened >= 0) mg__sys_close(dialog->opened);
}

/* ---- asking ---- */

static bool is_key(int key, unsigned char byte) { return key != MG_TTY_NO_KEY && key == byte; }

static memguard_status refuse(struct mg__intake *intake, memguard_status why, const char *text) {
    mg__draft_end(&intake->draft);
    return mg__fail(why, 0, "%s", text);
}

/* The keys that end a line count where they end it; quoted by the kernel's ^V they are characters like others. */
static memguard_status end_of_line(struct mg__intake *intake, const struct dialog *dialog, bool *ended) {
    const unsigned char *data = intake->draft.data, last = data[intake->got - 1];
    const bool broken = is_key(dialog->tty.interrupt, last) || is_key(dialog->tty.suspend, last);
    *ended = last == '\n';
    if (*ended && (dialog->tty.quit == MG_TTY_NO_KEY || memchr(data, dialog->tty.quit, intake->got) == NULL))
        return MEMGUARD_OK;
    if (broken || *ended) return refuse(intake, MEMGUARD_ERR_INTERRUPTED, "broken off at the terminal");
    return MEMGUARD_OK; /* ^D in the middle: the line goes on */
}

/* One read(2) gives one line at the most, and a whole one if there is room. */
static memguard_status read_line(struct mg__intake *intake, const struct dialog *dialog, size_t *size) {
    bool ended = false;
    for (size_t count = 0; !ended;) {
        memguard_status status = MEMGUARD_OK;
        if (intake->draft.bytes - intake->got < LINE_ROOM)
            status = mg__draft_grow(&intake->draft, intake->got + LINE_ROOM);
        if (status == MEMGUARD_OK) status = mg__intake_pull(intake, LINE_ROOM, &count);
        if (status != MEMGUARD_OK) return status;
        *size = intake->got;
        if (count == 0) break; /* ^D on its own, or the terminal is gone */
        status = end_of_line(intake, dialog, &ended);
        if (status != MEMGUARD_OK) return status;
        *size -= ended;
        if (*size > dialog->most || count > MG_TTY_LINE_BYTES + 1)
            return refuse(intake, MEMGUARD_ERR_SIZE, "the line is too long");
    }
    return ended || *size != 0 ? MEMGUARD_OK : refuse(intake, MEMGUARD_ERR_SHORT, "the end came instead of a line");
}

/* Writing to a terminal, and changing its modes, can take as long as its reader likes: the draft is asleep meanwhile. */
static memguard_status say_asleep(struct mg__intake *intake, const struct dialog *dialog) {
    memguard_status status = mg__outlet_write(dialog->output, dialog->text, strlen(dialog->text), 0);
    if (status == MEMGUARD_OK) return mg__draft_wake(&intake->draft);
    mg__draft_end(&intake->draft);
    return status;
}

static memguard_status end_with(struct mg__intake *intake, int error, const char *text) {
    mg__draft_end(&intake->draft);
    return mg__fail(MEMGUARD_ERR_IO, error, "%s (errno %d)", text, error);
}

static void end_line(const struct dialog *dialog) {
    int error = 0;
    const long put = mg__sys_write(dialog->output, "\n", 1, &error);
    (void)put; /* for the eye only */
}

/* A terminal that stands still keeps these two waiting; a fork does not wait for them. */
static memguard_status hide(struct dialog *dialog, int *error) {
    const unsigned depth = mg__call_park();
    *error = mg__sys_tty_hide(dialog->input, &dialog->tty);
    return mg__call_unpark(depth);
}

static memguard_status restore(struct dialog *dialog, bool drop_input, int *error) {
    const unsigned depth = mg__call_park();
    *error = mg__sys_tty_restore(&dialog->tty, drop_input);
    end_line(dialog);
    return mg__call_unpark(depth);
}

static memguard_status ask_hidden(struct mg__intake *intake, struct dialog *dialog, size_t *size) {
    int hidden = 0, restored = 0;
    memguard_status status = hide(dialog, &hidden);
    if (status != MEMGUARD_OK) return status; /* a child: the draft is not here */
    if (hidden != 0) return end_with(intake, hidden, "the terminal does not hide what is typed");
    status = say_asleep(intake, dialog);
    if (status == MEMGUARD_OK) status = read_line(intake, dialog, size);
    if (status == MEMGUARD_OK) status = mg__draft_sleep(&intake->draft);
    const memguard_status back = restore(dialog, status != MEMGUARD_OK, &restored);
    if (status == MEMGUARD_OK) status = back;
    if (status != MEMGUARD_OK) return status;
    if (restored != 0) return end_with(intake, restored, "the terminal could not be restored");
    return mg__draft_wake(&intake->draft);
}

static memguard_status ask_plain(struct mg__intake *intake, const struct dialog *dialog, size_t *size) {
    bool whole = false;
    memguard_status status = say_asleep(intake, dialog);
    if (status == MEMGUARD_OK) status = mg__intake_gather(intake, '\n', dialog->most, size, &whole);
    if (status != MEMGUARD_OK || whole || *size != 0) return status;
    return refuse(intake, MEMGUARD_ERR_SHORT, "the end came instead of a line");
}

static memguard_status ask(memguard_vault *vault, struct dialog *dialog, bool is_tty, uint32_t flags,
                           memguard_secret *secret) {
    const bool breakable = (dialog->flags & MEMGUARD_PROMPT_PERSIST) == 0;
    struct mg__intake intake = {.source = {.descriptor = dialog->input, .breakable = breakable}};
    const size_t room = is_tty ? LINE_ROOM : mg__min_size(dialog->most + 1, mg__sys_page());
    size_t size = 0;
    memguard_status status = mg__draft_begin(vault, room, flags, &intake.draft);
    if (status == MEMGUARD_OK) status = mg__draft_sleep(&intake.draft);
    if (status != MEMGUARD_OK) return status;
    status = is_tty ? ask_hidden(&intake, dialog, &size) : ask_plain(&intake, dialog, &size);
    if (status == MEMGUARD_OK) status = mg__intake_finish(&intake, size, secret);
    mg__arch_clear_registers(); /* bytes were compared with keys */
    return status;
}

static memguard_status ask_there(memguard_vault *vault, struct dialog *dialog, uint32_t flags,
                                 memguard_secret *secret) {
    const bool is_tty = mg__sys_is_tty(dialog->input);
    if (!is_tty && (dialog->flags & MEMGUARD_PROMPT_NEED_TERMINAL) != 0)
        return mg__fail(MEMGUARD_ERR_IO, ENOTTY, "there is no terminal to ask at");
    if (is_tty && !mg__sys_tty_is_ours(dialog->input))
        return mg__fail(MEMGUARD_ERR_STATE, 0,
                        "the terminal belongs to another process group: this one is in the background");
    return ask(vault, dialog, is_tty, flags, secret);
}

/* ---- the public call ---- */

static memguard_status take_options(const memguard_prompt_options *given, memguard_prompt_options *options) {
    static const uint32_t known = MEMGUARD_PROMPT_DESCRIPTORS | MEMGUARD_PROMPT_NEED_TERMINAL | MEMGUARD_PROMPT_PERSIST;
    if (given == NULL) return MEMGUARD_OK;
    if (!mg__struct_is_known(given, given->size, sizeof(size_t), sizeof *options))
        return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memcpy(options, given, mg__min_size(given->size, sizeof *options));
    const bool stray = (options->flags & MEMGUARD_PROMPT_DESCRIPTORS) == 0 && (options->input | options->output) != 0;
    if ((options->flags & ~known) != 0 || options->reserved != 0 || stray)
        return mg__fail(MEMGUARD_ERR_ARGUMENT, 0, "unknown options of a prompt, or descriptors without the flag");
    if (options->most > MEMGUARD_SIZE_MAX)
        return mg__fail(MEMGUARD_ERR_SIZE, 0, "%zu bytes: a secret has 1 to %zu", options->most, MEMGUARD_SIZE_MAX);
    return MEMGUARD_OK;
}

memguard_status memguard_prompt(memguard_vault *vault, const memguard_prompt_options *given, uint32_t flags,
                                memguard_secret *secret) {
    MG_ORIGIN();
    memguard_prompt_options options = MEMGUARD_PROMPT_OPTIONS_INIT;
    if (secret == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    secret->id = 0;
    if (vault == NULL) return mg__fail_plain(MEMGUARD_ERR_ARGUMENT);
    memguard_status status = take_options(given, &options);
    if (status != MEMGUARD_OK) return status;
    MG_REFUSE_FORKED();
    struct dialog dialog = {.text = options.text != NULL ? options.text : "",
                            .most = options.most != 0 ? options.most : DEFAULT_MOST,
                            .flags = options.flags};
    find_terminal(&dialog, &options);
    status = ask_there(vault, &dialog, flags, secret);
    leave_terminal(&dialog);
    return status;
}
