/* question.h: what a program asks for, by the words of its prompt. Must not know: the agent, terminals.
 *
 *   Enter passphrase for key 'PATH':       ssh           ssh:PATH
 *   Enter passphrase for PATH:             ssh-add       ssh:PATH
 *   Bad passphrase, try again for PATH:    ssh-add       ssh:PATH, which was wrong
 *   USER@HOST's password:                  ssh           ssh:USER@HOST
 *   (USER@HOST) Password:                  ssh           ssh:USER@HOST
 *   [sudo] password for USER:              sudo          sudo:USER
 *   Password for 'URL':                    git           as git-credential (credential.h)
 *   Username for 'URL':                    git
 *
 * The whole prompt must be of this form, and users, hosts and URLs have plain characters only: a prompt is in part made of what
 * others choose (a server's words, the URL of a submodule), who must not make it look like another's. The words are those of
 * OpenSSH, sudo and git in the C locale; OpenSSH puts (USER@HOST) before what a server says from version 8.5 on. */
#ifndef MEMGUARD_QUESTION_H
#define MEMGUARD_QUESTION_H

#include "credential.h"
#include "name.h"

enum question_kind {
    QUESTION_SECRET,   /* one of `name`, if that is not empty */
    QUESTION_GIT,      /* a password as `git` says */
    QUESTION_GIT_USER, /* a user name, which is not secret */
    QUESTION_WORD,     /* yes or no, or another word that is not secret */
};

struct question {
    enum question_kind kind;
    bool again; /* what was answered before was wrong */
    struct name name;
    struct credential git;
};

void question_read(const char *prompt, struct question *question);

#endif
