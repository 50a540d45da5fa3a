"""What the soak makes of made-up runs and samples: `python3 -m unittest soaking.tests`."""

import contextlib
import io
import time
import tomllib
import types
import unittest

from . import gateway, loads, verdict, watch

FDINFO = """\
pos:\t0
SqThread:\t-1
UserFiles:\t9281
    0: socket:[24897885]
   17: socket:[24897886]
UserBufs:\t0
PollList:
  op=13, task_works=0
   12: no entry of the table
"""
METRICS = """\
# TYPE tidegate_connections gauge
tidegate_connections{shard="0"} 3
tidegate_connections{shard="1"} 4
tidegate_closes_total{shard="0",class="lag"} 2
tidegate_closes_total{shard="1",class="lag"} 5
tidegate_closes_total{shard="1",class="reset"} 1
"""


def samples(values):
    return [{"at_s": at_s, "bytes": value} for at_s, value in enumerate(values)]


def runs(name="slow", wrong=(), **figures):
    made_up = loads.Runs.__new__(loads.Runs)
    made_up.load = next(load for load in loads.LOADS if load.name == name)
    made_up.rounds, made_up.failures = [{"deliveries": 10, "extra": figures}], list(wrong)
    return made_up


class Verdict(unittest.TestCase):
    def test_memory_that_grows_is_missed_and_memory_that_only_trembles_is_not(self):
        self.assertTrue(verdict.flat("memory", samples([100, 101, 100, 101] * 10), "bytes").is_reached)
        grown = verdict.flat("memory", samples([1000 + step for step in range(40)]), "bytes")
        self.assertFalse(grown.is_reached)
        self.assertIn("+3.59%", grown.figure)

    def test_a_hump_in_between_is_missed(self):
        hump = verdict.flat("memory", samples([100] * 20 + [103] + [100] * 20), "bytes")
        self.assertFalse(hump.is_reached)
        self.assertIn("+0.00%", hump.figure)

    def test_memory_that_shrinks_by_more_was_not_settled(self):
        self.assertFalse(verdict.flat("memory", samples([100] * 10 + [97] * 10), "bytes").is_reached)

    def test_too_few_samples_show_nothing(self):
        self.assertFalse(verdict.flat("memory", samples([100]), "bytes").is_reached)

    def test_a_descriptor_that_is_left_is_missed(self):
        self.assertTrue(verdict.returned("descriptors", {"d": 21}, {"d": 21}, "d").is_reached)
        self.assertFalse(verdict.returned("descriptors", {"d": 21}, {"d": 22}, "d").is_reached)
        self.assertFalse(verdict.returned("descriptors", {"d": None}, {"d": None}, "d").is_reached, "not known is not reached")

    def test_a_run_that_failed_says_why_in_its_own_words(self):
        criterion = verdict.whole([runs(), runs(wrong=["slow, round 2: got number 7"])])
        self.assertFalse(criterion.is_reached)
        self.assertIn("got number 7", criterion.figure)
        never = runs()
        never.rounds = []
        self.assertFalse(verdict.whole([never]).is_reached)

    def test_whoever_is_closed_for_lag_must_have_stalled(self):
        stalled = [runs(slow_closed_1013=3, slow_reset=1, slow_closed_otherwise=0)]
        self.assertTrue(verdict.lagging(stalled, {"closes_total.lag": 4}).is_reached)
        self.assertFalse(verdict.lagging(stalled, {"closes_total.lag": 5}).is_reached)

    def test_a_refusal_is_told_by_name(self):
        self.assertTrue(verdict.faults({"closes_total.reset": 9, "refusals_total.full": 0}).is_reached)
        self.assertEqual(verdict.faults({"refusals_total.full": 2}).figure, "2 x full")

    def test_a_connect_that_failed_is_told_with_its_reason(self):
        criterion = verdict.storms([runs("storm", connects=10, failed=1, failures="1 x no answer in time")])
        self.assertFalse(criterion.is_reached)
        self.assertIn("1 of 10; 1 x no answer in time", criterion.figure)


class Looks(unittest.TestCase):
    def test_sockets_in_a_rings_table_are_counted_and_nothing_else_is(self):
        self.assertEqual(watch.files_of(FDINFO), 2)
        self.assertIsNone(watch.files_of("pos:\t0\nSqThread:\t-1\n"), "the kernel left it out")

    def test_figures_are_summed_over_the_shards(self):
        self.assertEqual(gateway.summed(METRICS), {"connections": 7, "closes_total.lag": 7, "closes_total.reset": 1})


class Loads(unittest.TestCase):
    def test_each_has_a_name_and_but_for_storms_a_topic_of_its_own(self):
        self.assertEqual(len({load.name for load in loads.LOADS}), len(loads.LOADS))
        urls = [load.url for load in loads.LOADS if load.scenario != "storm"]
        self.assertEqual(len(set(urls)), len(urls))

    def test_the_gateways_settings_are_toml_and_let_the_loads_publish(self):
        settings = tomllib.loads(gateway.SETTINGS.format(certificate="c", key="k", shards=2, admin_port=1))
        self.assertEqual([settings["shards"]["count"], len(settings["listener"])], [2, 2])
        self.assertEqual(settings["topic"][-1]["pattern"], ">", "what follows it would be hidden")

    def test_a_round_that_fails_ends_its_load_and_is_kept(self):
        load = loads.Load("made up", "", "fanout", "ws", {}, round_s=60)
        run = types.SimpleNamespace(load=load, rounds=[], failures=[], is_over=False, run=lambda *_: ({"deliveries": 1}, "it lacked number 3"))
        with contextlib.redirect_stdout(io.StringIO()):
            loads.Runs.repeat(run, {"ws": "127.0.0.1:1"}, time.monotonic() + 100, lambda line: self.fail("it is no round"))
        self.assertEqual((len(run.rounds), run.failures), (1, ["made up, round 1: it lacked number 3"]))


if __name__ == "__main__":
    unittest.main()
