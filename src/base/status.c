/* Names and sentences of the status numbers, made from the one list in the public header. */
#include "base/base.h"

const char *memguard_status_name(memguard_status status) {
    switch (status) {
#define MG_NAME(name, number, text)                                                                                    \
    case number:                                                                                                       \
        return #name;
        MEMGUARD_STATUS_LIST(MG_NAME)
#undef MG_NAME
    default:
        return "ERR_UNKNOWN";
    }
}

const char *memguard_status_text(memguard_status status) {
    switch (status) {
#define MG_TEXT(name, number, text)                                                                                    \
    case number:                                                                                                       \
        return text;
        MEMGUARD_STATUS_LIST(MG_TEXT)
#undef MG_TEXT
    default:
        return "not a status of this version";
    }
}

#define MG_STRING(x) MG_STRING_(x)
#define MG_STRING_(x) #x

const char *memguard_version(void) {
    return MG_STRING(MEMGUARD_VERSION_MAJOR) "." MG_STRING(MEMGUARD_VERSION_MINOR) "." MG_STRING(
        MEMGUARD_VERSION_PATCH);
}
