/* The language's words for editors: a TextMate grammar and a syntax file for Vim. */
#include "driver/commands/manual.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/words.h"

/* Words of a kind, sorted as in the tables, with `between` in between. Fields and choices may have
 * names that are builtins', too, or each other's: each is said once. */
static const char *words(Arena *a, unsigned kinds, const char *between) {
    Text t = text_new(a);
    text_add(&t, "");
    for (int i = 0; i < fe_nword(); i++) {
        FeWord w = fe_word(i);
        bool seen = !(kinds >> w.kind & 1);
        for (int k = 0; k < i && !seen; k++)
            seen = kinds >> fe_word(k).kind & 1 && !strcmp(fe_word(k).name, w.name);
        if (!seen) text_addf(&t, "%s%s", t.len ? between : "", w.name);
    }
    return t.data;
}

#define KIND(k) (1u << FE_##k)
#define BUILTINS (KIND(BUILTIN) | KIND(INITIALISER) | KIND(CHOICE))

/* ---- TextMate -------------------------------------------------------------------------------- */

static void add_rule(VmJson *list, const char *name, const char *match) {
    VmJson o = vm_json_object();
    vm_json_string(&o, "name", name);
    vm_json_string(&o, "match", match);
    vm_json_put(list, NULL, o);
}

static void add_words(Arena *a, VmJson *list, const char *name, unsigned kinds,
                      const char *behind) {
    add_rule(list, name, arena_printf(a, "\\b(%s)\\b%s", words(a, kinds, "|"), behind));
}

static void add_string(VmJson *list) {
    VmJson o = vm_json_object(), inner = vm_json_list();
    vm_json_string(&o, "name", "string.quoted.double.vmoe");
    vm_json_string(&o, "begin", "\"");
    vm_json_string(&o, "end", "\"|$");
    add_rule(&inner, "constant.character.escape.vmoe", "\\\\.");
    vm_json_put(&o, "patterns", inner);
    vm_json_put(list, NULL, o);
}

/* `layer name`, `model name`: the name is what is declared. */
static void add_declaration(VmJson *list) {
    VmJson o = vm_json_object(), captures = vm_json_object(), word = vm_json_object(),
           name = vm_json_object();
    vm_json_string(&o, "match", "\\b(layer|model|train)\\s+([A-Za-z_]\\w*)");
    vm_json_string(&word, "name", "keyword.declaration.vmoe");
    vm_json_string(&name, "name", "entity.name.function.vmoe");
    vm_json_put(&captures, "1", word);
    vm_json_put(&captures, "2", name);
    vm_json_put(&o, "captures", captures);
    vm_json_put(list, NULL, o);
}

void manual_textmate(Text *t, CmdId cmd) {
    Arena *a = t->arena;
    VmJson all = vm_json_object(), list = vm_json_list();
    (void)cmd;
    add_rule(&list, "comment.line.number-sign.vmoe", "#.*$");
    add_string(&list);
    add_declaration(&list);
    add_words(a, &list, "keyword.declaration.vmoe", KIND(DECLARATION), "(?!\\s*=[^=])");
    add_words(a, &list, "keyword.control.vmoe", KIND(STATEMENT) | KIND(PART), "");
    add_words(a, &list, "keyword.control.vmoe", KIND(LOOSE), "(?=\\s+[A-Za-z_])");
    add_words(a, &list, "constant.language.vmoe", KIND(VALUE), "");
    add_words(a, &list, "keyword.operator.word.vmoe", KIND(OPERATOR), "");
    add_words(a, &list, "storage.type.vmoe", KIND(TYPE), "(?=\\s*\\[)");
    add_words(a, &list, "support.function.vmoe", BUILTINS, "(?=\\s*\\()");
    add_words(a, &list, "variable.parameter.field.vmoe", KIND(FIELD), "(?=\\s*=[^=])");
    add_rule(&list, "entity.name.function.call.vmoe", "\\b[A-Za-z_]\\w*(?=\\s*\\()");
    add_rule(&list, "constant.numeric.vmoe",
             "\\b[0-9]+(\\.[0-9]+)?([eE][-+]?[0-9]+)?(\\s+(epochs?|steps?))?\\b");
    add_rule(&list, "keyword.operator.vmoe", "\\|>|->|\\.\\.|==|!=|<=|>=|//|[-+*/%<>=]");
    vm_json_string(&all, "name", "vmoe");
    vm_json_string(&all, "scopeName", "source.vmoe");
    VmJson types = vm_json_list();
    vm_json_string(&types, NULL, "vmoe");
    vm_json_put(&all, "fileTypes", types);
    vm_json_put(&all, "patterns", list);
    char *text = vm_json_text(&all, JSON_INDENT(2));
    VM_CHECK(text, "a grammar cannot be said in JSON");
    text_addf(t, "%s\n", text);
    free(text);
}

/* ---- Vim ------------------------------------------------------------------------------------- */

/* A line per few words: Vim's own files keep lines short. */
static void vim_keywords(Text *t, const char *group, unsigned kinds) {
    enum { COLUMNS = 96 };
    const char *p = words(t->arena, kinds, " ");
    int column = COLUMNS;
    for (; *(p += strspn(p, " ")); p += strcspn(p, " ")) {
        int n = (int)strcspn(p, " ");
        if (column + 1 + n > COLUMNS) {
            text_addf(t, "%ssyntax keyword %s", column == COLUMNS ? "" : "\n", group);
            column = (int)strlen("syntax keyword ") + (int)strlen(group);
        }
        text_addf(t, " %.*s", n, p);
        column += 1 + n;
    }
    text_add(t, "\n");
}

void manual_vim(Text *t, CmdId cmd) {
    (void)cmd;
    text_add(t, "\" Vim syntax file of the .vmoe language; written by `vmoec manual vim`.\n"
                "if exists(\"b:current_syntax\")\n  finish\nendif\n\n");
    vim_keywords(t, "vmoeDeclaration", KIND(DECLARATION));
    vim_keywords(t, "vmoeStatement", KIND(STATEMENT) | KIND(PART));
    vim_keywords(t, "vmoeBoolean", KIND(VALUE));
    vim_keywords(t, "vmoeOperatorWord", KIND(OPERATOR));
    text_addf(t, "syntax match vmoeStatement /\\v^\\s*<(%s)>\\ze\\s+\\h/\n",
              words(t->arena, KIND(LOOSE), "|"));
    text_addf(t, "syntax match vmoeType /\\v<(%s)>\\ze\\s*\\[/\n",
              words(t->arena, KIND(TYPE), "|"));
    text_add(t, "syntax match vmoeCall /\\v<\\h\\w*\\ze\\s*\\(/\n"
                "syntax match vmoeNumber /\\v<\\d+(\\.\\d+)?([eE][-+]?\\d+)?>/\n"
                "syntax match vmoeComment /#.*$/ contains=@Spell\n"
                "syntax region vmoeString start=/\"/ skip=/\\\\./ end=/\"/ oneline\n"
                "syntax match vmoeOperator /\\v\\|\\>|-\\>|\\.\\./\n");
    /* behind the calls of any name, which they are preferred to */
    text_addf(t, "syntax match vmoeBuiltin /\\v<%%(%s)>\\ze\\s*\\(/\n\n",
              words(t->arena, BUILTINS, "|"));
    text_add(t, "highlight default link vmoeDeclaration Structure\n"
                "highlight default link vmoeStatement Statement\n"
                "highlight default link vmoeBoolean Boolean\n"
                "highlight default link vmoeOperatorWord Operator\n"
                "highlight default link vmoeOperator Operator\n"
                "highlight default link vmoeType Type\n"
                "highlight default link vmoeCall Identifier\n"
                "highlight default link vmoeBuiltin Function\n"
                "highlight default link vmoeNumber Number\n"
                "highlight default link vmoeComment Comment\n"
                "highlight default link vmoeString String\n\n"
                "let b:current_syntax = \"vmoe\"\n");
}
