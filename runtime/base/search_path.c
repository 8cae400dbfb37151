#include "base/search_path.h"

#include <string.h>

size_t dirty_search_path_absolute(const char *templates, char *out) {
    size_t used = 0;
    while (*templates != '\0') {
        size_t len = strcspn(templates, ";");
        if (*templates == '/') {
            if (used > 0)
                out[used++] = ';';
            memcpy(out + used, templates, len);
            used += len;
        }
        templates += len + (templates[len] == ';');
    }
    out[used] = '\0';
    return used;
}
