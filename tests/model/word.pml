/* word.pml: the word of an entry (src/core/table.h), and all that change it at once: a maker, readers, a writer, a destroyer, a
 * revocation by limits, and a purge (or, with LOCK, a lock of the vault). Each step that is one atomic instruction there is one step
 * here; a compare-and-swap loop is the step that succeeds. Holders may stay for ever. Checked by Spin (G. J. Holzmann), all orders:
 *
 *   - the library touches memory only while nobody takes it away; it is taken away once, and the entry ends once
 *   - a host sees its bytes or faults
 *   - a purge ends, though holders stay (a wait that can never end is a deadlock here), and then no plaintext is left
 *   - the same for a lock, which may answer BUSY
 *
 * FORGET_R, FORGET_HELD, FORGET_NOTE, NO_PIN: mistakes, each of which must be found. */

#ifndef READERS
#define READERS 2
#endif

mtype = { none, closed, opened, going, taken };
mtype mem = none; /* where the plaintext is: nowhere, behind closed pages, in open ones, being taken away, taken and wiped */

bool gate_is_open = true;
bool noted; /* in the record of the maker's thread */
bool making; /* he has found the gate open */
/* the word */
bool live, X, D, R, T;
byte pins, held;
byte generation; /* the id that all know has 0 */
byte views;

#define LAST 1
#define LAST_REVOKED 2

inline unpin(left) {
    atomic {
        pins--;
        if
        :: pins == 0 && D -> X = true; pins = 1; left = (R -> LAST_REVOKED : LAST)
        :: else -> left = 0
        fi
    }
}

inline unseize(left) {
    atomic {
        if
        :: pins == 1 && D -> left = (R -> LAST_REVOKED : LAST)
        :: else -> X = false; pins--; left = 0
        fi
    }
}

inline finish(left) {
    if
    :: left == LAST -> assert(mem == closed); mem = none; free_entry()
    :: left == LAST_REVOKED -> assert(mem == taken); mem = none; free_entry()
    :: else
    fi
}

inline free_entry() {
    atomic { assert(live && X && pins == 1 && held == 0 && views == 0 || R); live = false; X = false; D = false; R = false; pins = 0; views = 0; generation++ }
}

inline hold(ok) { atomic { ok = !D; if :: ok -> held++ :: else fi } }
inline unhold(whole) { atomic { held--; whole = !R } }
inline lock_views() { atomic { !T -> T = true } }

/* A maker is seen by all from the first, and owns the entry (SHOWN: drafts, streams); or notes that he makes something, and shows it
 * when it is done. Note and gate: each side stores, fences and loads. */
proctype Maker() {
    byte left;
#ifdef SHOWN
    atomic { live = true; X = true; pins = 1 }
    if
    :: !gate_is_open -> atomic { live = false; X = false; D = false; pins = 0; generation++ }
    :: gate_is_open -> mem = closed; unseize(left); finish(left)
    fi
#else
    noted = true;
    if
    :: !gate_is_open
    :: atomic { gate_is_open -> making = true };
        mem = closed;
        if
#ifndef LOCK
        :: !gate_is_open -> mem = none; generation++
#endif
        :: live = true
        fi
    fi;
    making = false;
    noted = false
#endif
}

/* Begins only when the entry can be had; what the host does is to look, and perhaps to stay. */
proctype Reader() {
    byte left;
    bool ok;
    if
    :: atomic { live && generation == 0 && !X && !D -> pins++ }
    :: atomic { !live || generation != 0 || X || D -> goto out }
    fi;
    if
    :: !gate_is_open -> unpin(left); finish(left); goto out
    :: gate_is_open
    fi;
    lock_views();
    if
    :: views == 0 -> assert(mem == closed); mem = opened
    :: else -> assert(mem == opened)
    fi;
    views++;
    T = false;
    hold(ok);
    if
    :: !ok -> goto close
    :: ok
    fi;
    assert(mem == opened || mem == going || mem == taken);
    if
    :: goto end_stays
    :: true
    fi;
    assert(mem == opened || mem == going || mem == taken);
    unhold(ok);
    if
    :: !ok -> goto let_go
    :: ok
    fi;
close:
    lock_views();
    assert(mem == opened);
    views--;
    if
    :: views == 0 -> mem = closed
    :: else
    fi;
    T = false;
let_go:
    unpin(left);
    finish(left);
    goto out;
end_stays:
    false;
out:
    skip
}

proctype Writer() {
    byte left;
    bool ok;
    if
    :: atomic { live && generation == 0 && !X && !D && pins == 0 -> X = true; pins = 1 }
    :: atomic { !live || generation != 0 || X || D || pins != 0 -> goto out }
    fi;
    if
    :: !gate_is_open -> goto let_go
    :: gate_is_open
    fi;
    assert(mem == closed);
    mem = opened;
    hold(ok);
    if
    :: !ok -> goto close
    :: ok
    fi;
    assert(mem == opened || mem == going || mem == taken);
    if
    :: goto end_stays
    :: true
    fi;
    unhold(ok);
    if
    :: !ok -> goto let_go
    :: ok
    fi;
close:
    assert(mem == opened);
    mem = closed;
let_go:
    unseize(left);
    finish(left);
    goto out;
end_stays:
    false;
out:
    skip
}

proctype Destroyer() {
    byte left = 0;
    atomic {
        if
        :: live && generation == 0 && !D ->
            D = true;
            if
            :: pins == 0 -> X = true; pins = 1; left = LAST
            :: else
            fi
        :: else
        fi
    }
    finish(left)
}

#ifdef NO_PIN
#define revoker_pin 0
#else
#define revoker_pin 1
#endif
#ifdef FORGET_HELD
#define all_held true
#else
#define all_held (pins == held)
#endif
/* The step that marks R: only when all pins are in the hosts' hands. */
#define can_revoke (live && !R && pins != 0 && all_held)

inline take_away(left) {
    assert(mem == opened || mem == closed);
    mem = going;
    mem = taken;
    if
    :: revoker_pin == 1 -> unpin(left); finish(left)
    :: else
    fi
}

/* mg__purge_overdue */
proctype Limits() {
    byte left;
    if
    :: atomic { can_revoke && !D -> D = true; R = true; pins = pins + revoker_pin }; take_away(left)
    :: true
    fi
}

#ifdef FORGET_R
#define settled_after_r true
#else
#define settled_after_r (pins == held)
#endif

#ifdef FORGET_NOTE
#define nobody_makes true
#else
#define nobody_makes (!noted)
#endif

proctype Purge() {
    byte left;
    gate_is_open = false;
    nobody_makes;
    do /* until the deadline, which may be at once or never */
    :: atomic { !live -> goto done }
    :: atomic { live && R && settled_after_r -> goto done }
    :: atomic { live && !R && pins == 0 -> D = true; X = true; pins = 1 }; left = LAST; finish(left); goto done
    :: atomic { live && !R && pins != 0 && !D -> D = true }
    :: break
    od;
    if
    :: !live
    :: atomic { live && R && settled_after_r }
    :: atomic { live && !R && pins == 0 -> D = true; X = true; pins = 1 }; left = LAST; finish(left)
    :: atomic { can_revoke -> D = true; R = true; pins = pins + revoker_pin }; take_away(left)
    fi;
done:
    assert(!making && (mem == none || mem == taken))
}

/* close_gate, seal_everything. What is sealed is closed here. */
proctype Lock() {
    byte left;
    gate_is_open = false;
    nobody_makes;
    if
    :: !live -> goto done
    :: atomic { live && R && settled_after_r -> goto done }
    :: atomic { live && !R && held != 0 -> goto busy }
    :: atomic { live && pins == 0 }
    fi;
    if
    :: !live
    :: atomic { live && R }
    :: atomic { live && !R && !X && pins == 0 -> X = true; pins = 1 }; assert(mem == closed); unseize(left); finish(left)
    fi;
done:
    assert(!making && (mem == none || mem == closed || mem == taken));
    goto out;
busy:
    gate_is_open = true;
out:
    skip
}

init {
    byte i;
    atomic {
        run Maker();
        for (i : 1 .. READERS) { run Reader() }
        run Writer();
        run Destroyer();
        run Limits();
#ifdef LOCK
        run Lock()
#else
        run Purge()
#endif
    }
}
