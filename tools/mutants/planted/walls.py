"""Bugs by which an agent sees, or acts as, somebody else: R13 and R14."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_VIEW = "protocol/agent_messaging/agent_view.py"
_DIRECTORY = "db/agent_messaging_db/sql/directory.sql"
_VIEWS = "tests/protocol/test_agent_view.py::"
_FOREIGN = "tests/mcp_server/test_foreign_handles.py::"

MUTANTS = (
    Mutant(
        name="the-caller-says-who-it-is",
        promise="R13",
        sentence="A header, which anybody can send, says on whose behalf a request is made.",
        file="mcp_server/agent_messaging_mcp/http/app.py",
        old="""\
def _identify(_: ServerRequestContext[Any, Any]) -> str:
    credential = current()
""",
        new="""\
def _identify(ctx: ServerRequestContext[Any, Any]) -> str:
    if ctx.request is not None and (named := ctx.request.headers.get("x-on-behalf-of")):
        return named
    credential = current()
""",
        caught_by=("tests/mcp_server/test_smuggled_senders.py::test_nothing_but_the_token_says_who_calls",),
    ),
    Mutant(
        name="a-meeting-of-others-is-open",
        promise="R13",
        sentence="Whoever knows or guesses the handle of a meeting reads what is said in it.",
        file=_VIEW,
        old="""\
        if id is None or not await self._engine.read(
            lambda connection: meetings.is_member(connection, meeting=id, agent=me.id)
        ):
""",
        new="        if id is None or me is None:\n",
        caught_by=(
            f"{_VIEWS}test_a_meeting_of_others_is_refused_just_as_an_unknown_one_by_id_and_by_handle",
            f"{_FOREIGN}test_a_foreign_handle_opens_nothing_and_is_told_from_an_unknown_one_by_nothing",
        ),
    ),
    Mutant(
        name="a-question-to-others-is-told",
        promise="R13",
        sentence="A question between two others is refused in other words than an unknown one, which gives it away.",
        file=_VIEW,
        old="        asker = None if found is None or found[2] != me.id else",
        new="        asker = None if found is None else",
        caught_by=(f"{_VIEWS}test_a_question_to_another_is_refused_just_as_an_unknown_one_by_id_and_by_handle",),
    ),
    Mutant(
        name="a-cursor-of-anybody",
        promise="R13",
        sentence="The cursor that another agent was given is taken for one's own.",
        file="db/agent_messaging_db/sql/inbox.sql",
        old="SELECT message_ids FROM inbox_cursors WHERE number = $1 AND agent_id = $2;",
        new="SELECT message_ids FROM inbox_cursors WHERE number = $1 AND $2::uuid IS NOT NULL;",
        caught_by=("tests/protocol/test_inbox.py::test_a_cursor_acknowledges_exactly_what_it_named",),
    ),
    Mutant(
        name="the-mail-of-others-marked-read",
        promise="R13",
        sentence="Who knows the id of a message of another agent takes it out of that one's inbox.",
        file="db/agent_messaging_db/sql/inbox.sql",
        old="""\
FROM (SELECT d.message_id FROM deliveries d JOIN unnest($1::uuid[], $2::uuid[]) AS n (message_id, recipient_id)
      ON n.message_id = d.message_id AND n.recipient_id = d.recipient_id
""",
        new="""\
FROM (SELECT d.message_id FROM deliveries d JOIN unnest($1::uuid[], $2::uuid[]) AS n (message_id, recipient_id)
      ON n.message_id = d.message_id
""",
        caught_by=(
            "tests/protocol/test_async_conversation.py::"
            "test_with_manual_acknowledgement_a_message_stays_until_it_is_marked_read",
        ),
    ),
    Mutant(
        name="an-answer-by-anybody",
        promise="R13",
        sentence="The statement that settles a question does not ask whose it is to answer.",
        file="db/agent_messaging_db/migrations/0003_settling.sql",
        old="WHERE q.id = p_question[1] AND q.answerer_id = p_sender[1] FOR UPDATE;",
        new="WHERE q.id = p_question[1] FOR UPDATE;",
        caught_by=("tests/db/test_answers.py::test_a_question_is_settled_by_the_one_who_was_asked_alone",),
    ),
    Mutant(
        name="updates-about-others",
        promise="R13",
        sentence="Whoever subscribes to a meeting of others is told each time somebody speaks in it.",
        file=_VIEW,
        old="        return self._engine.waiting.listen([meeting_topic(await self._meeting(meeting))], call)\n",
        new="""\
        id = await self._engine.read(
            lambda connection: meetings.meeting_by_number(
                connection, number=number_of(HandleKind.MEETING, str(meeting)) or 0
            )
        )
        if id is None:
            raise MeetingNotFoundError(f"there is no meeting {str(meeting)[:80]!r} of yours")
        return self._engine.waiting.listen([meeting_topic(id)], call)
""",
        caught_by=(
            "tests/protocol/test_agent_view.py::test_a_meeting_of_others_is_refused_just_as_an_unknown_one_by_id_and_by_handle",
        ),
    ),
    Mutant(
        name="no-wall-at-all",
        promise="R14",
        sentence="Agents of other organizations are reached as if they were of one's own.",
        file=_VIEW,
        old="        return other.organization_id in allowed\n",
        new="        return other.organization_id in allowed or self._within\n",
        caught_by=(
            f"{_VIEWS}test_an_agent_of_another_organization_is_refused_just_as_an_unknown_one_and_nothing_changes",
            "tests/mcp_server/test_conversations.py::test_another_organization_does_not_exist",
        ),
    ),
    Mutant(
        name="unscoped-query",
        promise="R14",
        sentence="The list of agents names those of every organization.",
        file=_DIRECTORY,
        old="WHERE (a.organization_id = $1 OR a.organization_id IN (\n",
        new="WHERE ($1::uuid IS NOT NULL OR a.organization_id IN (\n",
        caught_by=(
            f"{_VIEWS}test_near_matches_come_from_what_the_agent_may_see",
            "tests/mcp_server/test_conversations.py::test_another_organization_does_not_exist",
        ),
    ),
    Mutant(
        name="permission-from-one-side",
        promise="R14",
        sentence="An organization reaches another one by allowing it, without being allowed.",
        file=_DIRECTORY,
        old="""\
SELECT f.allows_id FROM organization_permissions f
JOIN organization_permissions b ON b.organization_id = f.allows_id AND b.allows_id = f.organization_id
WHERE f.organization_id = $1;
""",
        new="SELECT f.allows_id FROM organization_permissions f WHERE f.organization_id = $1;\n",
        caught_by=(f"{_VIEWS}test_a_permission_opens_the_wall_when_it_is_mutual_and_not_before",),
    ),
    Mutant(
        name="a-conversation-through-the-wall",
        promise="R14",
        sentence="What was written before a permission was taken back can still be read by name.",
        file=_VIEW,
        old="        await self._visible([with_agent])\n        return await read_conversation(",
        new="        await self._me()\n        return await read_conversation(",
        caught_by=(
            f"{_VIEWS}test_an_agent_of_another_organization_is_refused_just_as_an_unknown_one_and_nothing_changes",
        ),
    ),
    Mutant(
        name="an-answer-through-the-wall",
        promise="R14",
        sentence="A question that was asked before a permission was taken back is answered across the wall.",
        file=_VIEW,
        old="        if found is None or asker is None or not await self._may_see(me, asker):\n",
        new="        if found is None or asker is None:\n",
        caught_by=(f"{_FOREIGN}test_organizations_that_allow_each_other_reach_each_other_until_one_takes_it_back",),
    ),
    Mutant(
        name="names-told-by-near-matches",
        promise="R14",
        sentence="Who mistypes a name is told names of other organizations that resemble it.",
        file="protocol/agent_messaging/directory.py",
        old="        agents = await self.visible_from(organization, limit=MOST_COMPARED)\n",
        new="        agents = await self.agents()\n",
        caught_by=(f"{_VIEWS}test_near_matches_come_from_what_the_agent_may_see",),
    ),
    Mutant(
        name="completion-through-the-wall",
        promise="R14",
        sentence="Completing the name of an agent offers agents of every organization.",
        file="mcp_server/agent_messaging_mcp/completions.py",
        old="            found = await view.agents(limit=1_000)\n",
        new="            found = await (await desk.service.messaging()).agents()\n",
        caught_by=("tests/mcp_server/test_resources.py::test_agents_and_meetings_are_completed",),
    ),
)
