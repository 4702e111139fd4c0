# Who logs in at a terminal gets debug mode's menu first; it leads to the shell.
if [ -t 0 ] && [ -t 1 ]; then
    bootmanager menu
fi
