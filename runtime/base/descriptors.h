/* descriptors: closes descriptors that a process inherited by exec or fork, and that the
 * code it runs next must not have. */
#ifndef DIRTY_DESCRIPTORS_H
#define DIRTY_DESCRIPTORS_H

/* Close all descriptors of this process except 0, 1, 2 and the `count` in `keep` (at most
 * DIRTY_DESCRIPTORS_KEPT; -1 and stdio are skipped). Sorts `keep`. */
void dirty_descriptors_close_but(int *keep, unsigned count);
#define DIRTY_DESCRIPTORS_KEPT 128

/* Record which descriptors above stdio were open when this program started, except those
 * with close-on-exec, which the program has taken by then. Call it early in main. */
void dirty_descriptors_note_given(void);

/* Close the recorded descriptors that are still open. Call it in a process with fewer
 * privileges than the one that opened them. */
void dirty_descriptors_close_given(void);

/* Have exec pass on the recorded descriptors and the `count` in `kept`, and no other
 * above stdio. */
void dirty_descriptors_keep(const int *kept, unsigned count);

/* Give a descriptor a high number, from DIRTY_DESCRIPTORS_HIGH on: an app that closes a
 * number that is not its own is most likely to hit a low one. Returns the new number,
 * with close-on-exec, and the old one is closed; or `fd` itself if it is negative or the
 * limit of open files is low. */
int dirty_descriptors_move_up(int fd);
#define DIRTY_DESCRIPTORS_HIGH 1000

#endif
