# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sizing library: which VM may exist, where it goes, and what happens when a host dies.

Pure functions over plain data, no Ansible import and no input or output, so that each decision can be tested in a
table. The way through it: ``parse.read_inputs`` (validates, all problems at once) -> ``plan.build_plan`` (places by
``placing`` on ``limits`` and ``search``, measures by ``checks``) -> ``plan.to_dict`` (the shape of plan.json) ->
``terminal``, ``artifacts`` (JUnit, SARIF) and ``report`` (HTML). ``reading`` answers the filters.

Units everywhere: memory and disks in MiB as whole numbers inside (so that a limit is met exactly, never almost), GiB
for disks at the edges, CPUs in hardware threads, ratios as ``fractions.Fraction``.
"""
