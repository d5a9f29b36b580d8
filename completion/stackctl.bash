# bash completion for stackctl                             -*- shell-script -*-
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What can be named is asked of stackctl itself, as the options before the cursor say (--root=, --direct). Names that
# stackctl shows escaped are left out: they could not be typed so.

# Layers and processes: ids, devices, mount points, files, pids, units.
__stackctl_things() {
        local id kind where pid unit

        while read -r id kind where; do
                printf '%s\n' "$id"
                if [[ $kind == block ]]; then
                        printf '%s\n' "${where%% *}" "${where#* }" # two names
                else
                        printf '%s\n' "$where"
                fi
        done < <("$@" --no-legend --no-pager list layers --output=id,kind,where 2>/dev/null)
        while read -r pid unit; do
                printf '%s\n' "$pid" "$unit"
        done < <("$@" --no-legend --no-pager list processes --output=pid,unit 2>/dev/null)
}

# Services that serve something.
__stackctl_services() {
        local unit

        while read -r unit; do
                [[ $unit != *.service ]] || printf '%s\n' "$unit"
        done < <("$@" --no-legend --no-pager list processes --output=unit 2>/dev/null)
}

__stackctl_columns() {
        case $1 in
        layers) echo id kind type depth size server where name label device mounts path bytes certain height incomplete ;;
        processes) echo pid command uid depth threads marked reserved unit id state role certain exe cgroup swap-max oom-score \
                entitled refusal incomplete ;;
        hazards) echo severity hazard pid layer message process unit cure ;;
        esac
}

# COMPREPLY: those of the lines on standard input that begin with $1, without the part that readline leaves alone
# because it takes : and = for the ends of words.
__stackctl_reply() {
        local kept='' line

        [[ $1 != *[:=]* ]] || kept=${1%"${1##*[:=]}"}
        while IFS= read -r line; do
                [[ $line == "$1"* && -n $line && $line != - && $line != *\\* ]] || continue
                line=${line#"$kept"}
                [[ $line != *[[:space:]\"\'\$\`\;\&\|\<\>\(\)\*\?\[]* ]] || line=$(printf %q "$line")
                COMPREPLY+=("$line")
        done < <(sort -u)
}

# The value of an option: $1 so far, the others are what there is.
__stackctl_value() {
        mapfile -t COMPREPLY < <(compgen -W "${*:2}" -- "$1")
}

# The last of names separated by commas, perhaps with a + before the first.
__stackctl_list() {
        local before=''

        [[ $1 != +* ]] || before=+
        [[ $1 != *,* ]] || before=${1%,*},
        mapfile -t COMPREPLY < <(compgen -P "$before" -W "${*:2}" -- "${1#"$before"}")
        compopt -o nospace 2>/dev/null
}

_stackctl() {
        local -A options=(
                [status]='--all' [list]='--output= --output-all' [graph]='--all --output= --format=' [metrics]='--output='
                [capture]='--no-scrub' [release]='--all'
        )
        local verbs='status list show explain check plan apply revert adopt release cat-config reload graph monitor metrics capture run'
        local common='--json= --no-pager --no-legend --direct --root= --help --version'
        local -a words command
        local cur prev verb='' noun='' i

        COMPREPLY=()
        read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
        [[ ${COMP_LINE:0:COMP_POINT} != *[[:space:]] ]] || words+=('')
        cur=${words[-1]}
        prev=${words[-2]-}
        command=("${words[0]}")
        for ((i = 1; i < ${#words[@]} - 1; i++)); do
                case ${words[i]} in
                --root=* | --direct) command+=("${words[i]}") ;;
                --root) command+=("--root=${words[++i]}") ;;
                --json | --format | --output | -o) ((++i)) ;;
                -*) ;;
                *) if [[ -z $verb ]]; then verb=${words[i]}; else noun=${words[i]}; fi ;;
                esac
        done
        case $prev in
        --json | --format | --root | --output | -o) cur=$prev=$cur ;;
        esac

        if [[ $verb == run ]]; then
                mapfile -t COMPREPLY < <(if [[ $cur == -* ]]; then compgen -W '--keep-capability --try --argv0' -- "$cur"
                        else compgen -c -- "$cur"; fi)
                return
        fi
        case $cur in
        --json=*) __stackctl_value "${cur#*=}" short pretty off ;;
        --format=*) __stackctl_value "${cur#*=}" dot svg png pdf ;;
        --root=*)
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -d -- "${cur#*=}")
                ;;
        --output=* | -o=*)
                if [[ $verb == list ]]; then
                        # shellcheck disable=SC2046
                        __stackctl_list "${cur#*=}" $(__stackctl_columns "$noun")
                else
                        compopt -o filenames 2>/dev/null
                        mapfile -t COMPREPLY < <(compgen -f -- "${cur#*=}")
                fi
                ;;
        -*)
                mapfile -t COMPREPLY < <(compgen -W "$common ${options[${verb:-status}]-}" -- "$cur")
                [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null
                ;;
        *)
                case $verb in
                '') mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur") ;;
                list) [[ -n $noun ]] || mapfile -t COMPREPLY < <(compgen -W 'layers processes hazards' -- "$cur") ;;
                status | graph) [[ -n $noun ]] || __stackctl_reply "$cur" < <(__stackctl_things "${command[@]}") ;;
                adopt | release) [[ -n $noun ]] || __stackctl_reply "$cur" < <(__stackctl_services "${command[@]}") ;;
                show | explain | plan | apply | revert) __stackctl_reply "$cur" < <(__stackctl_things "${command[@]}") ;;
                capture) [[ -n $noun ]] || {
                        compopt -o filenames 2>/dev/null
                        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                } ;;
                esac
                # A path may name what is known by another name: a link below /dev, ./image.
                if [[ ${#COMPREPLY[@]} -eq 0 && $cur == */* && $verb =~ ^(status|graph|show|explain|plan|apply|revert)$ ]]; then
                        compopt -o filenames 2>/dev/null
                        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                fi
                ;;
        esac
}

complete -F _stackctl stackctl
