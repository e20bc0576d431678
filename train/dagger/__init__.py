"""DAgger: fly the policy, have the teacher label what it meets, train on."""
