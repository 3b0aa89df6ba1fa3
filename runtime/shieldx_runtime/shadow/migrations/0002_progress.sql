-- How far an evaluation is: whichever replica is asked can tell.
ALTER TABLE shadow.evaluations
    ADD COLUMN judged  bigint NOT NULL DEFAULT 0,
    ADD COLUMN samples bigint NOT NULL DEFAULT 0;
