/* light.pml: light readers (src/core/light.h) against a writer, a destroyer and a purge, and a heavy reader who makes V. A reader's
 * stores to its seat wait in a store buffer, as long as they like; a heavy fence, by whomever, empties all of them. Each step that is one
 * instruction there is one step here. Looking at the seats of all is one step for each. Checked by Spin, in all orders:
 *
 *   - what a reader was shown nobody changes and nobody ends; it may be taken away, but not while the library looks at it
 *   - the entry ends once, and when it is dying the last who leaves it ends it
 *   - a purge ends, though holders stay, and then no plaintext is left
 *   - whoever was told REVOKED was counted by the purge, and nobody else
 *
 * NO_SEIZE_FENCE, NO_DOOM_FENCE, NO_GATE_FENCE, NO_R_FENCE, NO_DOOM_PIN, NO_BUSY_WAIT, NO_LEAVE_FENCE, NO_RESTORE: mistakes, each of
 * which must be found. */

#define READERS 2

mtype = { none, lying, written, going, taken };
mtype mem = lying;

bool gate_is_open = true;
/* the word */
bool live = true, X, D, R, T, V = true, N;
byte pins; /* busy ones; those in the host's hands are in word.pml */

/* A seat: 0 free, 1 busy with coming, 2 held, 3 busy with leaving, 4 free again. What its thread has stored, and what others see: stores
 * become visible in their order. vain: it went from 1 to 4. */
byte seat[READERS], shown[READERS];
bool vain[READERS];
byte finished, stayed, told_revoked, counted;

#define reads(i) (shown[i] >= 1 && shown[i] <= 3)
#define is_busy(i) (shown[i] == 1 || shown[i] == 3)

inline empty_buffer(i) { shown[i] = seat[i] }
inline heavy_fence() { atomic { empty_buffer(0); empty_buffer(1) } }

/* mg__light_any */
inline any(found) {
    found = false;
    if
    :: reads(0) -> found = true
    :: else ->
        if
        :: reads(1) -> found = true
        :: else
        fi
    fi
}

inline end_entry(revoked) {
    assert(live && X && pins == 1);
    assert(!revoked || mem == taken);
    assert(revoked || mem == lying);
    mem = none;
    atomic { live = false; X = false; D = false; R = false; V = false; pins = 0 }
}

/* mg__entry_finish, and the end that follows */
inline finish(found, revoked) {
    do
    :: atomic { !(live && D && V && !X && pins == 0) -> break }
    :: atomic { live && D && V && !X && pins == 0 -> revoked = R };
        any(found);
        if
        :: found -> break
        :: else
        fi;
        if
        :: atomic { live && D && V && !X && pins == 0 && R == revoked -> V = false; X = true; pins = 1 };
            end_entry(revoked);
            break
        :: atomic { else -> skip }
        fi
    od
}

inline unpin(found, revoked, last) {
    atomic {
        last = pins == 1 && D && !V;
        revoked = R;
        if
        :: last -> X = true
        :: else -> pins--
        fi
    };
    if
    :: last -> end_entry(revoked)
    :: else -> finish(found, revoked)
    fi
}

/* A store buffer: it empties when it likes. */
proctype Buffer(byte i) {
end:
    do
    :: atomic { shown[i] != seat[i] -> shown[i] = (vain[i] && shown[i] == 1 -> 4 : shown[i] + 1) }
    od
}

proctype Reader(byte i) {
    bool found, revoked;
    if
    :: atomic { live && V && !X && !D && !R }
    :: atomic { else -> goto out }
    fi;
    seat[i] = 1;
    if
    :: atomic { live && V && !X && !D && !R }
    :: atomic { else -> goto get_up }
    fi;
    if
    :: gate_is_open
    :: else -> goto get_up
    fi;
    assert(mem == lying || mem == going || mem == taken);
    seat[i] = 2;
    assert(mem == lying || mem == going || mem == taken);
    if
    :: atomic { stayed++; goto end_stays }
    :: true
    fi;
release:
    assert(mem == lying || mem == going || mem == taken);
    seat[i] = 3;
    if
    :: atomic { !R }
#ifdef NO_RESTORE
    :: atomic { R -> told_revoked++; goto leave }
#else
    :: atomic { R && pins == 0 -> told_revoked++; goto leave }
    :: atomic { R && pins != 0 -> seat[i] = 2; empty_buffer(i) }; /* a full fence; held, until it is over */
        atomic { !(R && pins != 0) };
        goto release
#endif
    fi;
    assert(mem == lying); /* the canaries */
leave:
    seat[i] = 4;
    if
    :: atomic { live && D }
    :: atomic { else -> goto out }
    fi;
#ifndef NO_LEAVE_FENCE
    empty_buffer(i);
#endif
    finish(found, revoked);
    goto out;
get_up:
    atomic { vain[i] = true; seat[i] = 4; empty_buffer(i) };
    if
    :: atomic { live && D }; finish(found, revoked)
    :: atomic { else -> skip }
    fi;
out:
    finished++;
end_stays:
    skip
}

/* Reads with a pin, and may make V. */
proctype Heavy() {
    bool found, revoked, last;
    if
    :: atomic { live && !X && !D -> pins++ }
    :: atomic { !live || D || (X && !T) -> goto out }
    fi;
    if
    :: gate_is_open -> assert(mem == lying); atomic { if :: !D -> V = true :: else fi }
    :: else
    fi;
    unpin(found, revoked, last);
out:
    finished++
}

proctype Writer() {
    bool found, revoked, last;
    if
    :: atomic { live && !X && !D && pins == 0 -> X = true; T = V; pins = 1 }
    :: atomic { else -> goto out }
    fi;
    if
    :: T ->
#ifndef NO_SEIZE_FENCE
        heavy_fence();
#endif
        any(found);
        if
        :: found -> atomic { X = false; T = false; pins-- }; finish(found, revoked); goto out
        :: else -> atomic { V = false; T = false }
        fi
    :: else
    fi;
    if
    :: gate_is_open -> assert(mem == lying); mem = written; assert(mem == written); mem = lying
    :: else
    fi;
    atomic {
        last = pins == 1 && D;
        if
        :: last
        :: else -> X = false; pins--
        fi
    };
    if
    :: last -> end_entry(false)
    :: else
    fi;
out:
    finished++
}

#ifdef NO_DOOM_PIN
#define doom_pin 0
#else
#define doom_pin 1
#endif

proctype Destroyer() {
    bool found, revoked, last;
    if
    :: atomic { live && !D && !V && pins == 0 -> D = true; X = true; pins = 1 }; end_entry(false); goto out
    :: atomic { live && !D && !V && pins != 0 -> D = true; goto out }
    :: atomic { live && !D && V -> D = true; pins = pins + doom_pin }
    :: atomic { !live || D -> goto out }
    fi;
#ifndef NO_DOOM_FENCE
    heavy_fence();
#endif
    if
    :: doom_pin == 1 -> unpin(found, revoked, last)
    :: else -> finish(found, revoked)
    fi;
out:
    finished++
}

/* mg__light_note_readers: N, unless it is revoked */
inline note() {
    if
    :: atomic { reads(0) && live && V && !R -> N = true }
    :: atomic { else -> skip }
    fi;
    if
    :: atomic { reads(1) && live && V && !R -> N = true }
    :: atomic { else -> skip }
    fi
}

inline count(i) {
#ifdef NO_BUSY_WAIT
    atomic { if :: reads(i) -> counted++ :: else fi }
#else
    atomic { !is_busy(i) -> if :: reads(i) -> counted++ :: else fi }
#endif
}

proctype Purge() {
    bool found, revoked, last, read;
    gate_is_open = false;
#ifndef NO_GATE_FENCE
    heavy_fence();
#endif
    do /* until the deadline, which may be at once or never */
    :: true -> note();
        atomic { read = N; N = false };
        do
        :: atomic { !live -> goto done }
        :: atomic { live && !X && pins == 0 && !read -> D = true; X = true; V = false; pins = 1 }; end_entry(false); goto done
        :: atomic { live && (X || pins != 0 || read) -> D = true; break }
        od
    :: break
    od;
    note();
    atomic { read = N; N = false };
    do
    :: atomic { !live -> goto done }
    :: atomic { live && !X && pins == 0 && !read -> D = true; X = true; V = false; pins = 1 }; end_entry(false); goto done
    :: atomic { live && pins == 0 && read -> D = true; R = true; pins = 1; break }
    :: atomic { live && pins != 0 }; atomic { !live || pins == 0 }; if :: read -> any(found); read = found :: else fi
    od;
#ifndef NO_R_FENCE
    heavy_fence();
#endif
    count(0);
    count(1);
    assert(mem == lying);
    mem = going;
    mem = taken;
    unpin(found, revoked, last);
done:
    assert(mem == none || mem == taken);
    finished++
}

init {
    atomic {
        run Buffer(0);
        run Buffer(1);
        run Reader(0);
        run Reader(1);
#ifdef HEAVY
        run Heavy();
#endif
#ifdef WRITER
        run Writer();
#endif
#ifdef DESTROYER
        run Destroyer();
#endif
#ifdef PURGE
        run Purge();
#endif
    };
    /* When all is over: what was to die has died, unless somebody holds it still. */
    atomic {
        (finished + stayed == 2
#ifdef HEAVY
            + 1
#endif
#ifdef WRITER
            + 1
#endif
#ifdef DESTROYER
            + 1
#endif
#ifdef PURGE
            + 1
#endif
        ) -> assert(!live || !D || stayed != 0);
        assert(stayed != 0 && told_revoked <= counted || told_revoked == counted)
    }
}
