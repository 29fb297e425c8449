/* seat.pml: two threads that release one light view at once (src/core/light.c): its owner by plain stores, which wait in a store buffer,
 * and another thread by a claim. Then the owner sits down in the same seat again, for the same secret, and another thread, rightly, releases
 * that view, while the first may still be at it. Others come one at a time, by a mutex. Checked by Spin, in all orders: of those who
 * release a view one is told OK.
 *
 * NO_FENCE, NO_DECISION, NO_MUTEX: mistakes, each of which must be found. */

#define READ 1
#define CLAIMED 2
#define TAKEN 3

byte mark = 1, read = READ; /* as all see them; the first view has the mark 1, the second one 2 */
byte won[3], over;
bool mutex, second;

/* The owner's stores on their way: which (false: mark), what. What he stored last he sees at once. */
chan buffer = [4] of { bool, byte };
byte marks_under_way, reads_under_way, last_mark, last_read;

inline store_mark(v) { atomic { buffer ! false, v; marks_under_way++; last_mark = v } }
inline store_read(v) { atomic { buffer ! true, v; reads_under_way++; last_read = v } }
#define my_mark (marks_under_way != 0 -> last_mark : mark)
#define my_read (reads_under_way != 0 -> last_read : read)
#define is_empty (marks_under_way + reads_under_way == 0)

active proctype Buffer() {
    byte v;
end:
    do
    :: atomic { buffer ? false, v -> mark = v; marks_under_way--; v = 0 }
    :: atomic { buffer ? true, v -> read = v; reads_under_way--; v = 0 }
    od
}

inline release_own(n) {
    if
    :: atomic { my_mark == n && my_read == READ }
    :: atomic { my_mark == n && my_read == CLAIMED } /* the slow way begins here, and is the same */
    :: atomic { !(my_mark == n && (my_read == READ || my_read == CLAIMED)) -> goto stale }
    fi;
    store_mark(0);
    if
    :: atomic { my_read == READ }
    :: atomic { my_read != READ };
#ifndef NO_DECISION
        is_empty; /* a compare-and-swap */
        if
        :: atomic { read == CLAIMED -> read = READ }
        :: atomic { read == READ }
        :: atomic { read == TAKEN || read == 0 -> goto stale }
        fi
#endif
    fi;
    won[n]++;
    store_read(0)
}

active proctype Owner() {
    release_own(1);
stale:
    do /* the seat is free when both are 0 */
    :: atomic { my_mark == 0 && my_read == 0 -> break }
    od;
    store_read(READ);
    store_mark(2);
    is_empty; /* the view is handed over */
    second = true;
    over++
}

inline release_anothers(n) {
#ifndef NO_MUTEX
    atomic { !mutex -> mutex = true };
#endif
    if
    :: atomic { mark == n };
        if
        :: atomic { read == READ -> read = CLAIMED };
#ifndef NO_FENCE
            is_empty;
#endif
            if
            :: atomic { mark == n };
                if
                :: atomic { read == CLAIMED -> read = TAKEN };
                    mark = 0;
                    won[n]++;
                    read = 0
                :: atomic { read != CLAIMED }
                fi
            :: atomic { mark != n };
                atomic { if :: read == CLAIMED -> read = READ :: else fi }
            fi
        :: atomic { read != READ }
        fi
    :: atomic { mark != n }
    fi;
    mutex = false
}

active proctype Wrong() { release_anothers(1); over++ }

active proctype Right() {
    second;
    release_anothers(2);
    over++
}

active proctype Judge() {
    over == 3 -> assert(won[1] == 1 && won[2] == 1)
}
