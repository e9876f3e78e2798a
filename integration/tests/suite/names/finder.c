/* What the C library that it is linked with finds: FAMILY NAME. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
    if (count != 3) return 2;
    struct addrinfo hints = {.ai_family = atoi(arguments[1]), .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(arguments[2], 0, &hints, &found);
    if (error) {
        puts(gai_strerror(error));
        return 0;
    }
    for (; found; found = found->ai_next) {
        char text[64];
        getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST);
        printf("%s%c", text, found->ai_next ? ' ' : '\n');
    }
    return 0;
}
