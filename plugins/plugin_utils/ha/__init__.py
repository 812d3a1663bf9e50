# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""High availability: a plan and the role's variables become the configuration of a Pacemaker cluster.

``parse.read_cluster`` tells all problems or gives a ``model.Cluster``, ``cib.configuration`` writes it as XML. No I/O.
"""
