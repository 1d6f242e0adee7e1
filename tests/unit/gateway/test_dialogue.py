"""What guards are told of a turn: what stood before the new message, and in whose name it is asked."""

from dataclasses import replace

from tests.unit.gateway.turns import FixedPolicy, ScriptedModel, Trace, WordSafety, run, service


class ListeningSafety(WordSafety):
    """Writes down every text with its context."""

    def __init__(self):
        self.asked = []

    async def examine(self, text, context):
        self.asked.append((text, context))
        return await super().examine(text, context)


async def test_the_new_message_is_examined_behind_the_persons_earlier_ones_without_those_that_were_blocked():
    trace, safety = Trace(), ListeningSafety()
    turns = replace(service(trace, ScriptedModel(trace, "Ok.")), policy=FixedPolicy(safety))
    await run(turns, "one", "answer", "bad", "answer", "two", "answer", "three")
    windows = {text: context.window for text, context in safety.asked if text != "answer"}
    assert windows["three"] == ("one", "two")
    assert (windows["one"], windows["bad"], windows["two"]) == ((), (), ())
