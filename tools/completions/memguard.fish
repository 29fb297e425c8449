# Completion of memguard for fish: verbs, options, their values, names of secrets. An agent is asked for names, never started, by
# the memguard of the PATH, whatever stands in the line.
# Installed as <prefix>/share/fish/vendor_completions.d/memguard.fish.

function __memguard_verb # the verb that was given, if any
    set -l words (commandline -opc)
    echo $words[2]
end
function __memguard_is # verbs
    contains -- (__memguard_verb) $argv
end
function __memguard_in_command # after `exec ... --`
    set -l words (commandline -opc)
    test "$words[2]" = exec; and contains -- -- $words
end
function __memguard_run
    command memguard $argv 2>/dev/null </dev/null
end
function __memguard_names
    __memguard_run ls --json | string match -rg '"name":"([^"]*)"'
end
function __memguard_ids
    __memguard_run doctor --list | string match -rg '^([a-z][a-z0-9-]*) '
end
function __memguard_id_list # ID,ID,...
    set -l before (string match -r '^(?:--require=)?(.*,)?' -- (commandline -ct))[2]
    printf "$before%s\n" (__memguard_ids)
end
function __memguard_variables # VAR=NAME
    set -l before (string match -r '^[^=-][^=]*=' -- (commandline -ct)); or return
    printf "$before%s\n" (__memguard_names)
end
function __memguard_command # the words after --, as a command line of their own; {NAME} stands for a secret
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l before (string match -r '^[^{]*\{(?=[^}]*$)' -- $typed)
    and printf "$before%s}\n" (__memguard_names)
    or complete -C (string join ' ' -- (string escape -- $words[(math (contains -i -- -- $words) + 1)..-1]) $typed)
end

complete -c memguard -f
complete -c memguard -n 'test -z (__memguard_verb)' -l help -d 'lists the verbs'
complete -c memguard -n 'test -z (__memguard_verb)' -l version -d 'the version'
complete -c memguard -n 'test -n (__memguard_verb); and not __memguard_in_command' -l help -d 'more about it'
for line in \
    'agent holds named secrets for other programs' \
    'set gives the agent a secret' \
    'get writes a secret of the agent to standard output' \
    'exec runs a program and hands it secrets' \
    'ls lists the secrets of the agent' \
    'rm makes the agent forget a secret, or all' \
    'status tells of the agent' \
    'lock locks the agent under a passphrase' \
    'unlock unlocks it' \
    'purge the agent wipes everything and ends' \
    'askpass answers prompts of ssh, git and sudo' \
    'git-credential keeps passwords of git in the agent' \
    'doctor tells what protects secrets on this machine' \
    'scan looks for a secret in another process' \
    'demo shows what memguard does and what it does not' \
    'help more about a verb'
    set -l words (string split -m 1 ' ' -- $line)
    complete -c memguard -n 'test -z (__memguard_verb)' -a $words[1] -d $words[2]
    complete -c memguard -n '__memguard_is help' -a $words[1] -d $words[2]
end

complete -c memguard -n '__memguard_is set get rm' -a '(__memguard_names)' -d secret
complete -c memguard -n '__memguard_is git-credential' -a 'get store erase'
complete -c memguard -n __memguard_in_command -a '(__memguard_command)'

complete -c memguard -n '__memguard_is agent' -l foreground -d 'stays where it is started'
complete -c memguard -n '__memguard_is agent' -l if-none -d 'one that is running already is no failure'
complete -c memguard -n '__memguard_is agent' -l backend -x -a 'auto secretmem locked plain' -d 'where secrets lie while in use'
complete -c memguard -n '__memguard_is agent' -l lock-on-suspend -d 'locks before the machine sleeps'
complete -c memguard -n '__memguard_is agent lock unlock' -l passphrase-fd -x -d 'reads a line of a descriptor'
complete -c memguard -n '__memguard_is agent set git-credential' -l ttl -x -d 'forgets it after so long (90s, 30m, 8h, 7d)'
complete -c memguard -n '__memguard_is set git-credential' -l idle -x -d 'forgets it when it was not used for so long'
complete -c memguard -n '__memguard_is set git-credential' -l confirm -d 'asks a person before each use'
complete -c memguard -n '__memguard_is set' -l fd -x -d 'reads a descriptor'
complete -c memguard -n '__memguard_is set' -l file -r -F -d 'reads a file'
complete -c memguard -n '__memguard_is set' -l gen -x -d 'random bytes, :hex or :b64'
complete -c memguard -n '__memguard_is set' -l line -d 'one line without its newline'
complete -c memguard -n '__memguard_is set' -l uses -x -d 'forgets it after so many uses'
complete -c memguard -n '__memguard_is set' -l no-reveal -d 'get refuses it'
complete -c memguard -n '__memguard_is get' -l reveal -d 'shows it on a terminal'
complete -c memguard -n '__memguard_is ls status doctor scan' -l json -d 'as data'
complete -c memguard -n '__memguard_is rm' -l all -d 'all secrets'
complete -c memguard -n '__memguard_is askpass scan' -l name -x -a '(__memguard_names)' -d 'a secret of the agent'
complete -c memguard -n '__memguard_is askpass' -l remember -x -d 'keeps the answer for so long'
complete -c memguard -n '__memguard_is demo scan' -l key -r -F -d 'a private key'
complete -c memguard -n '__memguard_is doctor scan' -l pid -x -a '(__fish_complete_pids)' -d 'a process'
complete -c memguard -n '__memguard_is doctor' -l strict -d 'exit code 1 if a fact is bad'
complete -c memguard -n '__memguard_is doctor' -l require -x -a '(__memguard_id_list)' -d 'exit code 1 if one of these is not good'
complete -c memguard -n '__memguard_is doctor' -l root -x -a '(__fish_complete_directories)' -d 'reads files below it'
complete -c memguard -n '__memguard_is doctor' -l explain -x -a '(__memguard_ids)' -d 'more about a fact'
complete -c memguard -n '__memguard_is doctor' -l list -d 'all ids'
complete -c memguard -n '__memguard_is scan' -l core -r -F -d 'a core file'
complete -c memguard -n '__memguard_is scan' -l self-test -d 'shows that it finds what is there'
complete -c memguard -n '__memguard_is scan' -l fd -x -d 'the secret, from a descriptor'
complete -c memguard -n '__memguard_is scan' -l file -r -F -d 'the secret, from a file'
complete -c memguard -n '__memguard_is scan' -l map -d 'a map of the address space'
complete -c memguard -n '__memguard_is scan' -l svg -r -F -d 'the map as a picture'
set -l exec '__memguard_is exec; and not __memguard_in_command'
complete -c memguard -n $exec -l file -x -a '(__memguard_names)' -d 'as a file in memory'
complete -c memguard -n $exec -l file-env -x -a '(__memguard_variables)' -d 'a variable with the path of a file in memory'
complete -c memguard -n $exec -l render -x -d 'a variable with the path of a file made of a template'
complete -c memguard -n $exec -l pipe -x -a '(__memguard_names)' -d 'as a pipe'
complete -c memguard -n $exec -l stdin -x -a '(__memguard_names)' -d 'as standard input'
complete -c memguard -n $exec -l env -x -a '(__memguard_variables)' -d 'in the environment'
complete -c memguard -n $exec -l once -x -a '(__memguard_names)' -d 'and forgets it'
