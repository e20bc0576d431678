"""What the server of forks imports before it forks for the first time."""

import forked_command

forked_command.prepare()
