"""Every key of a policy: what it holds, and the sentence that describes it to people and editors."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tallyman.domain.names import Digest, Registry
from tallyman.domain.policy.expressions import Expression
from tallyman.domain.policy.gates import GateConfig, known_gates, overridable_gates
from tallyman.domain.policy.model import (
    NAME,
    CountedFrom,
    Create,
    Encryption,
    Environment,
    Keep,
    KeepMatches,
    KeepNewerThan,
    KeepNewest,
    KeepTag,
    Layers,
    People,
    Per,
    Promotion,
    Push,
    Removal,
    RepositoryRule,
    Retention,
    RollOut,
    Runs,
    Service,
    Verify,
)
from tallyman.domain.policy.reading import Node, Wrong, suggestion
from tallyman.domain.policy.shapes import (
    Account,
    Choice,
    Duration,
    EnvironmentName,
    Flag,
    Key,
    ListOf,
    Record,
    Schema,
    Text,
    Whole,
    role_name,
)
from tallyman.domain.policy.tags import ANY_TAG, TagRule, parse_entry

_TAG_ENTRY = Text(
    what='a tag, a glob such as "stable-*", semver, semver-commit or a range such as ">=1.0.0"',
    build=parse_entry,
)
_TAGS = ListOf(_TAG_ENTRY, build=TagRule.parse)
_ENVIRONMENT_NAME = r"[A-Za-z][A-Za-z0-9_-]*"


class TagsOrOne:
    """A list of tags, or its one entry alone."""

    def read(self, node: Node) -> TagRule:
        if isinstance(node.value, str):
            return TagRule.parse([_TAG_ENTRY.read(node)])
        rule: TagRule = _TAGS.read(node)
        return rule

    def schema(self) -> Schema:
        return {"anyOf": [_TAG_ENTRY.schema(), _TAGS.schema()]}


class Gates:
    """The gates of a promotion, each read by its own shape. What is not known is refused: unknown means closed."""

    def read(self, node: Node) -> Mapping[str, GateConfig]:
        if not isinstance(node.value, Mapping):
            raise node.expected("gates, as in {verified: true, soak: 24h}")
        known = known_gates()
        gates: dict[str, GateConfig] = {}
        failure: Wrong | None = None
        for name, value in node.value.items():
            child = node.child(str(name), value)
            try:
                if name not in known:
                    hint = suggestion(str(name), tuple(known))
                    there = ", ".join(known)
                    raise child.wrong(
                        f"gate '{name}' is not known to this version of Tallyman, expected one of {there}{hint}"
                    )
                gates[name] = known[name].shape.read(child)
            except Wrong as error:
                failure = error
        if failure:
            raise failure
        return MappingProxyType(gates)

    def schema(self) -> Schema:
        keys = {name: {"description": kind.description, **kind.shape.schema()} for name, kind in known_gates().items()}
        return {"type": "object", "additionalProperties": False, "properties": keys}


class Overridable:
    """Gates that people may override, by name."""

    def read(self, node: Node) -> tuple[str, ...]:
        if not isinstance(node.value, list):
            raise node.expected("a list of gates, as in [soak, window]")
        names = overridable_gates()
        failure: Wrong | None = None
        for index, value in enumerate(node.value):
            if value not in names:
                failure = node.child(index, value).expected(f"a gate that may be overridden ({', '.join(names)})")
        if failure:
            raise failure
        return tuple(node.value)

    def schema(self) -> Schema:
        return {"type": "array", "items": {"enum": list(overridable_gates())}}


class KeepRule:
    """One rule of `keep`, in one of its forms."""

    def read(self, node: Node) -> Keep:
        form = next((f for f in _KEEP if isinstance(node.value, Mapping) and f in node.value), None)
        if form is None:
            raise node.expected(
                '{newest: 20, of: semver}, {newer_than: 30d}, {tag: "stable-*"} or {matches: "release-[0-9]+"}'
            )
        rule: Keep = _KEEP[form].read(node)
        return rule

    def schema(self) -> Schema:
        return {"anyOf": [record.schema() for record in _KEEP.values()]}


class Percent:
    """`20%`, as a whole number."""

    def read(self, node: Node) -> int:
        text = node.value[:-1] if isinstance(node.value, str) and node.value.endswith("%") else ""
        if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 100):
            raise node.expected("a share from 0% to 100%, such as 20%")
        return int(text)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^(?:0?[0-9]{1,2}|100)%$"}


def _usage_entry(text: str) -> str:
    return Digest.parse(text) if text.startswith("sha256:") else parse_entry(text)


_KEEP = {
    "newest": Record(
        {
            "newest": Key(Whole(minimum=1), "How many of the newest stay.", required=True),
            "of": Key(TagsOrOne(), "Of which tags; without it, of all, versions and others counted apart."),
            "per": Key(Choice(Per), "So many of each minor or major version."),
        },
        lambda newest, of=None, per=None: KeepNewest(newest, of or ANY_TAG, per),
        expected="{newest: 20, of: semver}",
    ),
    "newer_than": Record(
        {
            "newer_than": Key(Duration(), "What is younger than this stays, such as 30d.", required=True),
            "counted_from": Key(
                Choice(CountedFrom),
                "From when: the push (default), the last tag_move, pull or release; what never happened counts from "
                "the push.",
            ),
        },
        KeepNewerThan,
        expected="{newer_than: 30d}",
        renamed={"newer_than": "age"},
    ),
    "tag": Record(
        {"tag": Key(TagsOrOne(), 'Tags that stay, such as "stable-*".', required=True)},
        KeepTag,
        expected='{tag: "stable-*"}',
        renamed={"tag": "tags"},
    ),
    "matches": Record(
        {
            "matches": Key(
                Text(what='a regular expression such as "release-[0-9]+"', build=Expression),
                "Tags that stay: those that the whole expression matches. One that could take for ever is refused.",
                required=True,
            )
        },
        KeepMatches,
        expected='{matches: "release-[0-9]+"}',
    ),
}

_CREATE = Record(
    {
        "immutable": Key(Flag(), "Tags never move once pushed (default: true)."),
        "mutable_tags": Key(
            ListOf(Text(r"[0-9A-Za-z._*-]{1,128}", "a tag or a glob such as latest or edge-*"), most=5),
            "Tags, or globs of tags, that may move although the repository is immutable; ECR takes at most five.",
        ),
        "encryption": Key(Choice(Encryption), "How ECR encrypts layers at rest (default: AES256)."),
        "kms_key": Key(Text(), "The KMS key for KMS or KMS_DSSE: ARN, id or alias; without it, AWS's own key for ECR."),
        "scan_on_push": Key(Flag(), "Each pushed image is scanned for vulnerabilities (default: true)."),
        "pull": Key(ListOf(Account()), 'Accounts that may pull, in quotes: ["222222222222"].'),
        "push": Key(
            Choice(Push),
            "Who may push where a promotion delivers: tallyman-only, or anyone whom IAM lets (default).",
        ),
        "break_glass": Key(role_name(), "With tallyman-only: the one other role that may push, for emergencies."),
    },
    Create,
    expected="settings of a repository, as in {immutable: true, scan_on_push: true}",
)

_PROMOTION = Record(
    {
        "from": Key(EnvironmentName(), "The environment that images come from.", required=True),
        "to": Key(EnvironmentName(), "The environment that they go to.", required=True),
        "tags": Key(TagsOrOne(), "Which tags go; without it, those that the repository's tags.allow lets in."),
        "gates": Key(Gates(), "What must hold before an image goes. An unknown gate is an error, never ignored."),
        "overridable": Key(
            Overridable(), "Gates that people may override with a reason (freeze too); without it, none."
        ),
        "give_up": Key(Duration(), "How long a promotion that keeps failing is tried again (default: 24h)."),
    },
    Promotion,
    expected="a promotion, as in {from: dev, to: prod, tags: [semver]}",
    renamed={"from": "source", "to": "target"},
)

_RETENTION = Record(
    {
        "keep": Key(
            ListOf(KeepRule()),
            "What stays. Where it is given, a tagged image that no rule names is to be removed; without it, all stay.",
        ),
        "at_least": Key(Whole(minimum=0), "So many of the newest tagged images stay whatever the rules say."),
        "untagged": Key(
            Record(
                {"remove_after": Key(Duration(), "How long after its push, such as 7d.", required=True)},
                lambda remove_after: remove_after,
                expected="{remove_after: 7d}",
            ),
            "When untagged images that belong to no index are removed; without it, never.",
        ),
        "pulled_within": Key(
            Duration(),
            "What was pulled less than this ago is protected, with the indexes above it; without it, pulls "
            "protect nothing.",
        ),
        "roll_back": Key(
            Duration(),
            "How long what an environment ran is protected, so that it can be rolled back to (default: 30d).",
        ),
        "usage": Key(
            ListOf(Text(what='a digest, a tag or a glob such as "edge-*"', build=_usage_entry)),
            "What something runs that no source of usage tells, such as machines elsewhere: digests, tags, globs.",
        ),
        "grace": Key(
            Duration(),
            "How long an image is left alone after its push, and between the mark and the removal (default: 7d).",
        ),
        "at_most": Key(
            Percent(), "The largest share of a repository in one run; more stops and alarms (default: 20%)."
        ),
        "at_most_images": Key(Whole(minimum=0), "The largest number of images in one run; without it, any."),
        "action": Key(Choice(Removal), "remove (default), or archive: moved to ECR's archive, where restore finds it."),
        "enforce": Key(Flag(), "Remove; false (default) only plans."),
    },
    Retention,
    expected="retention, as in {keep: [{newest: 20}], enforce: false}",
    renamed={"untagged": "untagged_remove_after"},
)


def _repository(**values: Any) -> RepositoryRule:
    rule = RepositoryRule(**values)
    # A promotion without tags takes what the repository allows, which is known only now.
    promotions = (replace(p, tags=rule.tags) if p.tags is ANY_TAG else p for p in rule.promotions)
    return replace(rule, promotions=tuple(promotions))


REPOSITORY = Record(
    {
        "match": Key(
            Text(r"[a-z0-9*?](?:[a-z0-9._*?/-]*[a-z0-9*?])?", "a repository or a glob such as rocketseat/*"),
            "Which repositories, by canonical name; * is any characters, / among them. The first entry that matches "
            "counts.",
            required=True,
        ),
        "create": Key(_CREATE, "How the repository is created, and what an existing one is compared with."),
        "tags": Key(
            Record(
                {"allow": Key(_TAGS, "Kinds, names and globs are alternatives; each range must hold too.")},
                lambda allow=None: ANY_TAG if allow is None else allow,
                expected="{allow: [semver, latest]}",
            ),
            "Which tags may be pushed; without it, all.",
        ),
        "verify": Key(
            Record(
                {
                    "layers": Key(
                        Choice(Layers),
                        "content (default): each layer is read and hashed; presence: it is there, of the right size.",
                    ),
                    "platforms": Key(
                        ListOf(
                            Text(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?", "a platform such as linux/arm64"),
                            least=1,
                        ),
                        "Platforms that an image must offer, such as linux/arm64; without it, any.",
                    ),
                },
                Verify,
                expected="{layers: content}",
            ),
            "How images are verified.",
        ),
        "promotions": Key(ListOf(_PROMOTION), "Which images go from where to where, and through which gates."),
        "retention": Key(_RETENTION, "Which images stay, and which are removed."),
    },
    _repository,
    expected="a repository entry, as in {match: rocketseat/*}",
)


_REGISTRY = Text(
    r"[0-9]{12}/[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}",
    "a registry: account/region, such as 111111111111/us-east-2",
    Registry.parse,
)
_CANONICAL = Key(
    Text(r"[a-z0-9][a-z0-9._/-]*", "a repository such as rocketseat/widget-server"),
    "The repository, by canonical name, whose releases move it.",
    required=True,
)


class ServiceRule:
    """What a release moves, in one of its forms."""

    def read(self, node: Node) -> Service:
        form = next((f for f in _SERVICE if isinstance(node.value, Mapping) and f in node.value), None)
        if form is None:
            raise node.expected(
                "{ecs: cluster/service, repository: …} or {lambda: function, alias: live, repository: …}"
            )
        service: Service = _SERVICE[form].read(node)
        return service

    def schema(self) -> Schema:
        return {"anyOf": [record.schema() for record in _SERVICE.values()]}


_SERVICE = {
    "ecs": Record(
        {
            "ecs": Key(
                Text(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+", "cluster/service"),
                "The ECS service, as cluster/service.",
                required=True,
            ),
            "repository": _CANONICAL,
            "container": Key(Text(r"[A-Za-z0-9_-]+", "a container"), "Which container; without it, the only one."),
        },
        lambda ecs, repository, container=None: Service(Runs.ECS, ecs, repository, container=container),
        expected="{ecs: cluster/service, repository: rocketseat/widget-server}",
    ),
    "lambda": Record(
        {
            "lambda": Key(Text(r"[A-Za-z0-9_-]{1,64}", "a function"), "The Lambda function, by name.", required=True),
            "repository": _CANONICAL,
            "alias": Key(Text(r"[A-Za-z0-9_-]{1,128}", "an alias"), "The alias that is moved.", required=True),
        },
        lambda function, repository, alias: Service(Runs.LAMBDA, function, repository, alias=alias),
        expected="{lambda: function, alias: live, repository: rocketseat/widget-server}",
        renamed={"lambda": "function"},
    ),
}
_ROLL_OUT = Record(
    {
        "services": Key(
            ListOf(ServiceRule(), least=1), "What a release moves, in each registry's account.", required=True
        ),
        "pause": Key(Duration(), "How long to wait between two registries, such as 10m (default: 0s)."),
    },
    RollOut,
    expected="a roll-out, as in {services: [{ecs: cluster/service, repository: rocketseat/widget-server}], pause: 10m}",
)
_ENVIRONMENT = Record(
    {
        "registries": Key(
            ListOf(_REGISTRY, least=1),
            "Registries that hold the same images, as account/region: a promotion reaches all of them or none.",
            required=True,
        ),
        "repository": Key(
            Text(r"[a-z0-9._/-]*\{name\}[a-z0-9._/-]*", f'a name that holds {NAME} once, such as "prod/{NAME}"'),
            f'What a repository is called here: "{NAME}" (default), or renamed on promotion as in "prod/{NAME}".',
        ),
        "rollout": Key(_ROLL_OUT, "What a release moves by digest; without it, only the event tells of it."),
    },
    lambda **values: values,
    expected="an environment, as in {registries: [111111111111/us-east-2]}",
)


class Environments:
    """Environments by name, in the file's order."""

    def read(self, node: Node) -> Mapping[str, Environment]:
        if not isinstance(node.value, Mapping):
            raise node.expected("environments by name, as in {dev: {registries: [111111111111/us-east-2]}}")
        found: dict[str, Environment] = {}
        name_shape = Text(_ENVIRONMENT_NAME, "the name of an environment: a letter, then letters, digits, _ or -")
        for name, value in node.value.items():
            child = node.child(str(name), value)
            try:
                name_shape.read(Node(name, child.path, node.document))
                found[name] = Environment(name, **_ENVIRONMENT.read(child))
            except Wrong:
                continue  # noted; the other environments are still read, and checked
        return MappingProxyType(found)

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_ENVIRONMENT_NAME}$"},
            "additionalProperties": _ENVIRONMENT.schema(),
        }


class Repositories:
    """The entries of `repositories`; one that is wrong leaves None in its place, so that numbers stay right."""

    def read(self, node: Node) -> tuple[RepositoryRule | None, ...]:
        if not isinstance(node.value, list):
            raise node.expected("a list of repository entries, as in [{match: rocketseat/*}]")
        found: list[RepositoryRule | None] = []
        for index, value in enumerate(node.value):
            try:
                found.append(REPOSITORY.read(node.child(index, value)))
            except Wrong:
                found.append(None)
        return tuple(found)

    def schema(self) -> Schema:
        return {"type": "array", "items": REPOSITORY.schema()}


_ANYONE = "whomever IAM lets send it"
_WITHOUT = {"approve": "those whom the gate names", "override": "those who may promote"}
_PEOPLE = Record(
    {
        command: Key(
            ListOf(role_name()), f"Roles whose holders may {what}; without it, {_WITHOUT.get(command, _ANYONE)}."
        )
        for command, what in {
            "promote": "ask for a promotion",
            "approve": "approve or deny one",
            "override": "override a gate that a promotion lets be overridden",
            "freeze": "freeze and thaw an environment",
            "recall": "recall an image",
        }.items()
    },
    People,
    expected="who may do what, as in {promote: [role/release-managers]}",
)

TOP: Mapping[str, Key] = {
    "environments": Key(Environments(), "Named lists of registries that hold the same images."),
    "repositories": Key(Repositories(), "What holds for which repositories; the first entry that matches counts."),
    "people": Key(_PEOPLE, "Who may send which command."),
}
