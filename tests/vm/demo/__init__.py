"""`python -m tests.vm.demo`: the main job from a blank machine to a reinstalled node, shown live."""
