-- Tasks: waits that go on without the call that began them, for whoever asks after them later, at any process.

-- Nobody works on a task. What it waits for is looked at whenever somebody asks after it, by making the call in `resume`
-- again without waiting; the first look that finds something settles it, and its result never changes after that.
CREATE TABLE tasks (
    id         text COLLATE "C" PRIMARY KEY,
    agent_id   uuid NOT NULL REFERENCES agents,
    resume     text NOT NULL,                  -- JSON: the call that goes on waiting
    state      text NOT NULL DEFAULT 'working',
    result     text,                           -- JSON, once it is completed
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,           -- nobody waits longer
    expires_at timestamptz NOT NULL,           -- it cannot be asked after any more
    CONSTRAINT a_task_has_a_known_state CHECK (state IN ('working', 'completed', 'cancelled')),
    CONSTRAINT only_completed_tasks_have_results CHECK ((state = 'completed') = (result IS NOT NULL)),
    CONSTRAINT tasks_expire_after_their_end CHECK (expires_at >= ends_at AND ends_at >= created_at)
);
CREATE INDEX tasks_at_work_by_agent ON tasks (agent_id) WHERE state = 'working';
CREATE INDEX tasks_by_expiry ON tasks (expires_at);
