/* Lines and words of text files (words.h). Knows nothing of what they mean. */
#include "driver/session/words.h"

#include <string.h>

bool session_is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

void session_skip_blanks(SessionWords *w) {
    while (w->at < w->end && session_is_blank(w->src->text[w->at])) w->at++;
}

bool session_next_line(SessionWords *w) {
    const Source *src = w->src;
    while (w->next < (int)src->len) {
        const char *from = src->text + w->next;
        const char *newline = memchr(from, '\n', src->len - (size_t)w->next);
        int end = newline ? (int)(newline - src->text) : (int)src->len;
        const char *comment = memchr(from, '#', (size_t)(end - w->next));
        w->at = w->next;
        w->end = comment ? (int)(comment - src->text) : end;
        w->next = end + 1;
        while (w->end > w->at && session_is_blank(src->text[w->end - 1])) w->end--;
        session_skip_blanks(w);
        if (w->at < w->end) return true;
    }
    return false;
}

Span session_next_word(SessionWords *w, char stop) {
    session_skip_blanks(w);
    Span s = {w->src, w->at, w->at};
    while (s.end < w->end && !session_is_blank(w->src->text[s.end]))
        if (w->src->text[s.end++] == stop) break;
    w->at = s.end;
    return s;
}

bool session_word_is(Span s, const char *text) {
    size_t n = strlen(text);
    return (size_t)(s.end - s.start) == n && !memcmp(s.src->text + s.start, text, n);
}

const char *session_word_text(Arena *a, Span s) {
    return arena_strndup(a, s.src->text + s.start, (size_t)(s.end - s.start));
}

const char *session_word_found(Arena *a, Span s) {
    return s.start == s.end ? "the end of the line"
                            : arena_printf(a, "'%s'", session_word_text(a, s));
}
