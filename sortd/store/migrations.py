"""How the index came to be as it is: each change of its tables, in the order in which they were made."""

from __future__ import annotations

MIGRATIONS = [
    # 1: the first library.
    """
    CREATE TABLE categories (
        id INTEGER PRIMARY KEY,
        name BLOB NOT NULL UNIQUE,            -- the folder's path relative to the root
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        present INTEGER NOT NULL DEFAULT 1,
        confirmed INTEGER NOT NULL DEFAULT 0, -- placements the owner agreed with
        corrected INTEGER NOT NULL DEFAULT 0, -- placements the owner took out again
        last_correction REAL
    );
    CREATE TABLE videos (
        fingerprint TEXT PRIMARY KEY,
        home INTEGER REFERENCES categories (id),
        placed_by TEXT CHECK (placed_by IN ('owner', 'sortd')),
        first_seen REAL NOT NULL,
        absent_since REAL,                    -- no copy of it stands any more
        pending INTEGER NOT NULL DEFAULT 1,   -- lacks a feature of the present space
        left_reason TEXT,                     -- the last reason told, so that it is told once
        left_category BLOB,
        CHECK ((home IS NULL) = (placed_by IS NULL))
    ) WITHOUT ROWID;
    CREATE INDEX videos_pending ON videos (first_seen) WHERE pending;
    CREATE INDEX videos_home ON videos (home);
    CREATE TABLE files (
        path BLOB PRIMARY KEY,                -- relative to the root, so that the library may move
        fingerprint TEXT NOT NULL REFERENCES videos (fingerprint),
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        gone INTEGER NOT NULL DEFAULT 0       -- 1: not there at the last look; 2: nor since before the last scan
    ) WITHOUT ROWID;
    CREATE INDEX files_fingerprint ON files (fingerprint);
    CREATE TABLE vetoes (
        fingerprint TEXT NOT NULL REFERENCES videos (fingerprint),
        category INTEGER NOT NULL REFERENCES categories (id),
        PRIMARY KEY (fingerprint, category)
    ) WITHOUT ROWID;
    CREATE TABLE features (
        fingerprint TEXT NOT NULL REFERENCES videos (fingerprint),
        extractor TEXT NOT NULL,
        version TEXT NOT NULL,
        vector BLOB,                          -- little-endian float32; NULL: known to hold nothing
        text TEXT,
        details TEXT NOT NULL,
        PRIMARY KEY (fingerprint, extractor, version)
    );
    CREATE TABLE attempts (
        fingerprint TEXT PRIMARY KEY REFERENCES videos (fingerprint),
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        count INTEGER NOT NULL DEFAULT 0,
        running TEXT CHECK (running IN ('alone', 'batch')),
        alone INTEGER NOT NULL DEFAULT 0,     -- its batch was lost: it goes by itself next
        fault TEXT,                           -- set: set aside
        message TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID;
    CREATE TABLE moves (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        fingerprint TEXT NOT NULL,
        category INTEGER NOT NULL REFERENCES categories (id),
        confidence REAL NOT NULL,
        undoes INTEGER REFERENCES moves (id), -- a move back
        state TEXT NOT NULL CHECK (state IN ('open', 'done', 'undone', 'abandoned')),
        at REAL NOT NULL,
        why TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX moves_category ON moves (category, state);
    CREATE INDEX moves_fingerprint ON moves (fingerprint);
    CREATE TABLE move_steps (
        move INTEGER NOT NULL REFERENCES moves (id),
        n INTEGER NOT NULL,
        source BLOB NOT NULL,
        target BLOB NOT NULL,
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        PRIMARY KEY (move, n)
    ) WITHOUT ROWID;
    CREATE TABLE classifiers (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        space TEXT NOT NULL,
        digest TEXT NOT NULL,                 -- of the labels it learned from
        trained_at REAL NOT NULL,
        report TEXT NOT NULL,
        file TEXT NOT NULL
    );
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        line TEXT NOT NULL                    -- decided here, not yet in the decision log
    );
    CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
    # 2: each frame's own vector, float16 [n, dim], row after row.
    """
    ALTER TABLE features ADD COLUMN frames BLOB;
    """,
    # 3: moves across filesystems; a step's copy is noted when it is verified, before it gets its name.
    """
    ALTER TABLE moves ADD COLUMN crosses INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE move_steps ADD COLUMN copy_inode INTEGER;
    ALTER TABLE move_steps ADD COLUMN copy_size INTEGER;
    ALTER TABLE move_steps ADD COLUMN copy_mtime_ns INTEGER;
    ALTER TABLE move_steps ADD COLUMN copy_digest TEXT;
    """,
    # 4: moves at the owner's own word, which makes a label.
    """
    ALTER TABLE moves ADD COLUMN placed_by TEXT NOT NULL DEFAULT 'sortd' CHECK (placed_by IN ('owner', 'sortd'));
    """,
    # 5: paths below a renamed category had become text, which equals no path that is looked for.
    """
    UPDATE OR REPLACE files SET path = CAST(path AS BLOB) WHERE typeof(path) = 'text';
    """,
    # 6: the owner may take a correction back, and judge what a stopped category would have been given.
    """
    ALTER TABLE moves ADD COLUMN corrected INTEGER NOT NULL DEFAULT 0; -- taken out, and not filed there since
    ALTER TABLE categories ADD COLUMN agreed INTEGER NOT NULL DEFAULT 0;  -- kept from it by its stop, filed there
    ALTER TABLE categories ADD COLUMN refuted INTEGER NOT NULL DEFAULT 0; -- kept from it by its stop, filed elsewhere
    UPDATE moves SET corrected = 1 WHERE undoes IS NULL AND placed_by = 'sortd' AND state = 'undone' AND EXISTS
        (SELECT 1 FROM vetoes v WHERE v.fingerprint = moves.fingerprint AND v.category = moves.category);
    """,
    # 7: copies grow under names that cannot be foretold; those begun before keep theirs.
    """
    ALTER TABLE moves ADD COLUMN part TEXT NOT NULL DEFAULT '';
    UPDATE moves SET part = '.sortd-' || id;
    """,
    # 8: files are told apart by device and change time too; what numbers do not fit into 64 bits are 16 bytes. NULL: of
    # an index from before. What was set aside may have been mended since, unseen: it is tried once more.
    """
    ALTER TABLE files ADD COLUMN ctime_ns INTEGER;
    ALTER TABLE files ADD COLUMN device INTEGER;
    ALTER TABLE attempts ADD COLUMN ctime_ns INTEGER;
    ALTER TABLE move_steps ADD COLUMN ctime_ns INTEGER;
    ALTER TABLE move_steps ADD COLUMN device INTEGER;
    ALTER TABLE move_steps ADD COLUMN copy_ctime_ns INTEGER;
    ALTER TABLE move_steps ADD COLUMN copy_device INTEGER;
    ALTER TABLE moves ADD COLUMN began_ns INTEGER; -- the intent by the clock of the source's filesystem; NULL: not told
    DELETE FROM attempts WHERE fault IS NOT NULL;
    """,
    # 9: new files in the place of known videos, of which it is not known yet whether they are those videos still.
    """
    CREATE TABLE successions (
        fingerprint TEXT NOT NULL,            -- the new one
        predecessor TEXT NOT NULL,
        path BLOB NOT NULL,
        old_path BLOB NOT NULL,
        PRIMARY KEY (fingerprint, predecessor)
    ) WITHOUT ROWID;
    """,
    # 10: an attempt is counted when it went wrong; before, one that went alone was counted when it began.
    """
    UPDATE attempts SET count = max(0, count - 1) WHERE running = 'alone';
    """,
]
"""Each runs once; those that are missing run in one transaction with their count in `PRAGMA user_version`."""
