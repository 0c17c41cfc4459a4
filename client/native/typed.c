/* The command lines that the native runctl does itself: few options, each read as
 * client/cli reads it. Anything else is nobody's mistake here: it is for the Python runctl.
 */
#include "runctl.h"

#include <stdlib.h>
#include <string.h>

/* client/units.py, for the usual: digits and one of K, M, G, T. 0: something else. */
static uint64_t parse_size(const char *text)
{
    static const char units[] = "KMGT";
    char *end;
    if (*text < '1' || *text > '9' || strlen(text) > 12)
        return 0;
    uint64_t number = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (*end && (unit == NULL || end[1]))
        return 0;
    unsigned shift = unit == NULL ? 0 : 10 * (unsigned)(unit - units + 1);
    return number >> (62 - shift) ? 0 : number << shift;
}

/* A name that client/protocol.py allows; others are refused by the Python runctl. */
static bool is_name(const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    size_t length = strlen(text);
    if (length < 1 || length > 64 || strchr(letters, text[0]) == NULL)
        return false;
    for (const char *at = text; *at; at++)
        if (strchr(letters, *at) == NULL && strchr("._-", *at) == NULL)
            return false;
    return true;
}

/* Take `--WORD VALUE` or `--WORD=VALUE` at *at. NULL: something else. */
static const char *option(char ***at, const char *word)
{
    size_t length = strlen(word);
    char **here = *at;
    if (strncmp(*here, word, length) != 0)
        return NULL;
    if ((*here)[length] == '=') {
        *at = here + 1;
        return *here + length + 1;
    }
    if ((*here)[length] != '\0' || here[1] == NULL)
        return NULL;
    *at = here + 2;
    return here[1];
}

/* Whether this command line is one of the plain ones. */
bool parse(char **argv, struct asked *asked)
{
    const char *value;
    char **at = argv + 1;
    while (*at != NULL && (value = option(&at, "--socket")) != NULL)
        asked->socket = value;
    if (*at == NULL || strcmp(*at, "run") != 0)
        return false;
    at++;
    while (*at != NULL && **at == '-') {
        if (strcmp(*at, "--") == 0) {
            at++;
            break;
        }
        if ((value = option(&at, "--name")) != NULL) {
            if (!is_name(value))
                return false;
            asked->name = value;
        } else if ((value = option(&at, "--mem")) == NULL ||
                   (asked->memory = parse_size(value)) == 0) {
            return false;
        }
    }
    asked->command = at;
    return *at != NULL && **at != '\0';
}
