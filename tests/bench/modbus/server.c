/* A libmodbus TCP server, as its own manual writes one: many connections, one poll loop, 60 input registers. */
#include <errno.h>
#include <modbus.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MOST 1100

int main(int argc, char **argv) {
    modbus_t *ctx = modbus_new_tcp("127.0.0.1", argc > 1 ? atoi(argv[1]) : 1502);
    modbus_mapping_t *map = modbus_mapping_new_start_address(0, 0, 0, 0, 0, 0, 1000, 60);
    int listening = modbus_tcp_listen(ctx, MOST);
    if (listening < 0 || map == NULL) return 1;
    struct pollfd polled[MOST];
    int count = 1;
    polled[0].fd = listening;
    polled[0].events = POLLIN;
    for (;;) {
        if (poll(polled, count, -1) < 0) return 1;
        for (int i = count - 1; i >= 1; i--) {
            if (!polled[i].revents) continue;
            unsigned char query[MODBUS_TCP_MAX_ADU_LENGTH];
            modbus_set_socket(ctx, polled[i].fd);
            int size = modbus_receive(ctx, query);
            if (size > 0) {
                modbus_reply(ctx, query, size, map);
            } else if (size < 0) {
                close(polled[i].fd);
                polled[i] = polled[--count];
            }
        }
        if (polled[0].revents && count < MOST) {
            int fresh = modbus_tcp_accept(ctx, &listening);
            if (fresh >= 0) {
                polled[count].fd = fresh;
                polled[count++].events = POLLIN;
            }
        }
    }
}
