"""What the comparison tells of made-up runs, and whether its rows fit together: `python3 -m unittest comparison.tests`."""

import pathlib
import tempfile
import tomllib
import unittest

from . import rounds, rows, servers, tables


def made_up(row, figures):
    """Runs with these figures by label: one round for each value of CPU, with the generator's load beside it."""
    runs = rounds.Runs.__new__(rounds.Runs)
    runs.row, runs.lines = row, []
    for label, (values, busy) in figures.items():
        for turn, cpu in enumerate(values):
            line = {"label": label, "round": turn, "seconds": 1, "deliveries_per_second": 1e9 / cpu}
            runs.lines.append({**line, "server": {"cpu_ns_per_delivery": cpu}, "generator": {"busy_max": busy}})
    return runs


ROW = rows.fan_out(
    10, 1, rows.each("tidegate", "bun"), (rows.Target(rows.CPU, at_most=0.95, to="bun"), rows.Target(rows.RATE, at_least=1, to=rows.BEST_PEER))
)


class Tables(unittest.TestCase):
    def test_a_ratio_is_the_median_of_the_rounds_own(self):
        # The medians' ratio would be 1: a machine that drifts must not hide who was faster.
        runs = made_up(ROW, {"tidegate": ([80, 160, 400], 0.5), "bun": ([100, 200, 160], 0.5)})
        self.assertEqual(sorted(tables.ratios(runs, rows.CPU, "tidegate", "bun")), [0.8, 0.8, 2.5])
        self.assertIn("0.80 (0.80 to 1.65)", tables.table(runs))
        self.assertIn("**reached**: 0.80", tables.targets(runs)[0])

    def test_a_round_without_a_partner_counts_for_nothing(self):
        runs = made_up(ROW, {"tidegate": ([80, 1], 0.5), "bun": ([100], 0.5)})
        self.assertEqual(tables.ratios(runs, rows.CPU, "tidegate", "bun"), [0.8])

    def test_a_busy_generator_voids_rates_and_leaves_cpu(self):
        runs = made_up(ROW, {"tidegate": ([120], 0.5), "bun": ([100], 0.9)})
        self.assertIn("| Bun | 100 | 1 | void |", tables.table(runs))
        cpu, rate = tables.targets(runs)
        self.assertIn("missed: 1.20", cpu)
        self.assertIn("void or not measured", rate)

    def test_an_echo_is_held_against_whom_it_costs_least(self):
        row = rows.echo(125, 0.97)
        runs = made_up(row, {"tidegate": ([90, 90], 0.95), "bun": ([100, 100], 0.95), "ws": ([200, 200], 0.5), "tokio-uring": ([80, 100], 0.9)})
        bun, best = tables.targets(runs)
        self.assertIn("**reached**: 0.90", bun)
        # Its median is the least of all peers', and a busy generator takes nothing from CPU.
        self.assertIn("| at most 1x the best peer | missed: 1.01", best)
        self.assertIn("| tidegate | 90 | 0.90 (0.90 to 0.90) | 11,111,111 | void |", tables.table(runs))

    def test_who_gave_no_figures_is_in_the_table_with_the_reason(self):
        runs = made_up(ROW, {"bun": ([100], 0.5)})
        runs.lines.append({"label": "tidegate", "round": 0, "failed": "the server died: why"})
        self.assertIn("| tidegate | no figures: the server died: why |", tables.table(runs))

    def test_a_text_goes_between_its_markers_and_nowhere_else(self):
        document = "by hand <!-- compare:a -->old<!-- /compare --> by hand <!-- compare:b -->kept<!-- /compare -->"
        wanted = "by hand <!-- compare:a -->\nnew\n<!-- /compare --> by hand <!-- compare:b -->kept<!-- /compare -->"
        self.assertEqual(tables.placed(document, "a", "new"), wanted)
        self.assertIsNone(tables.placed(document, "c", "new"))

    def test_targets_of_rows_that_were_not_run_stay(self):
        before = tables.targets_table("<!-- compare:targets --><!-- /compare -->", ["| a | t | 1 |", "| b | t | 2 |"])
        after = tables.targets_table(f"<!-- compare:targets -->\n{before}\n<!-- /compare -->", ["| b | t | 3 |", "| c | t | 4 |"])
        self.assertEqual(after.splitlines()[2:], ["| a | t | 1 |", "| b | t | 3 |", "| c | t | 4 |"])


class Rows(unittest.TestCase):
    def test_rows_name_servers_and_contenders_that_there_are(self):
        self.assertEqual(len({row.name for row in rows.ROWS}), len(rows.ROWS))
        self.assertLessEqual(set(rows.QUICK), {row.name for row in rows.ROWS})
        for row in rows.ROWS:
            labels = [contender.label for contender in row.contenders]
            self.assertEqual(len(set(labels)), len(labels), row.name)
            self.assertLessEqual({contender.server for contender in row.contenders}, set(servers.SERVERS), row.name)
            for target in row.targets:
                self.assertIn(target.who, labels, row.name)
                self.assertIn(target.to.lstrip("-"), [*labels, "", rows.BEST_PEER], row.name)
                self.assertNotEqual(target.at_most is None, target.at_least is None, row.name)

    def test_each_round_begins_with_another_contender(self):
        self.assertEqual([rounds.rotated((1, 2, 3), turn) for turn in range(4)], [(1, 2, 3), (2, 3, 1), (3, 1, 2), (1, 2, 3)])

    def test_a_rows_settings_are_laid_over_the_gateways(self):
        with tempfile.TemporaryDirectory() as directory:
            contender = rows.Contender("tidegate", deflate=True, tidegate={"shards": {"count": 2}, "topic": {"pattern": ">"}})
            servers.tidegate(servers.Setup(contender, pathlib.Path(directory)))
            settings = tomllib.loads((pathlib.Path(directory) / "tidegate.toml").read_text())
        self.assertEqual(settings["shards"], {"count": 2, "pin": False})
        self.assertTrue(settings["listener"][0]["permessage_deflate"])
        self.assertEqual(settings["topic"], [{"pattern": ">"}])


if __name__ == "__main__":
    unittest.main()
