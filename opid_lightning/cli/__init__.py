"""From what a user types to a run: Hydra composes conf/, Lightning CLI checks types and builds.

    arguments -> composition -> configuration -> training or playing

Nothing below this package sees a configuration object.
"""
