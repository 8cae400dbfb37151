/* descriptors: those that a process has from others, by exec or by fork, and that are not
 * for what runs in it from now on. */
#ifndef DIRTY_DESCRIPTORS_H
#define DIRTY_DESCRIPTORS_H

/* Close all of this process but 0, 1, 2 and the `count` of `keep` (at most
 * DIRTY_DESCRIPTORS_KEPT; -1 and stdio are skipped). `keep` is sorted. */
void dirty_descriptors_close_but(int *keep, unsigned count);
#define DIRTY_DESCRIPTORS_KEPT 128

/* Remember what whoever started this program has left open for it above stdio. To be
 * called first of all in main. */
void dirty_descriptors_note_given(void);

/* Close those of them that are still open, in a process with fewer rights than theirs. */
void dirty_descriptors_close_given(void);

#endif
