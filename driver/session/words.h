/* Text files of lines and words, as files of blocks and of rules are: words stand between blanks,
 * and what is behind a # is for people. Requires a source that outlives the reader. */
#ifndef VMOEC_DRIVER_SESSION_WORDS_H
#define VMOEC_DRIVER_SESSION_WORDS_H

#include "frontend/syntax/diag.h"

typedef struct SessionWords {
    const Source *src;
    int next;    /* where the next line begins */
    int at, end; /* of this line, without its comment and the blanks before that */
} SessionWords;

/* Goes to the next line that has words; false: there is none. Begin with at, end and next 0. */
bool session_next_line(SessionWords *w);
void session_skip_blanks(SessionWords *w);
/* Up to a blank, or up to and with `stop` (0: none); empty at the end of the line. */
Span session_next_word(SessionWords *w, char stop);
bool session_is_blank(char c);
bool session_word_is(Span s, const char *text);
const char *session_word_text(Arena *a, Span s);
/* 'the word', or "the end of the line". */
const char *session_word_found(Arena *a, Span s);

#endif
