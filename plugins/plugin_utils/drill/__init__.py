# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failover drills: something is broken on purpose, and what the cluster makes of it is measured and judged.

``asking.prepare`` refuses or says what to follow; ``timeline.timeline`` makes one line of events of what several hosts
saw; ``verdict.judge`` holds it to the plan's failover table and gives drill.json's shape, ``page.render`` its page.
Times are seconds of the controller's monotonic clock: wall clocks jump, and differ from host to host.
"""
