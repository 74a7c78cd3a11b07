"""The adapters of people's commands, with the caller's own permissions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tallyman.adapters.aws.clients import Clients
from tallyman.bootstrap.adapters import Adapters
from tallyman.domain.names import EcrRegistry
from tallyman.settings import Settings

if TYPE_CHECKING:
    from tallyman.services.sealing.check_ledger import CheckLedger


def open_stack(outputs: Mapping[str, str], stack: str, hub: EcrRegistry, clients: Clients | None = None) -> Adapters:
    """Adapters for a person at the command line, from the outputs of the stack. They have no policy file."""
    settings = Settings(
        stack=stack,
        function="cli",
        hub=hub,
        ledger_table=outputs.get("LedgerTable"),
        state_table=outputs.get("StateTable"),
        archive_bucket=outputs.get("ArchiveBucket"),
        notices_topic=outputs.get("NoticesTopicArn"),
        bus=outputs.get("BusName"),
        verify_queue=outputs.get("VerifyQueueUrl"),
        promote_queue=outputs.get("PromoteQueueUrl"),
        commands_queue=outputs.get("CommandsQueueUrl"),
        retention_queue=outputs.get("RetentionQueueUrl"),
    )
    return Adapters(settings, clients)


def ledger_check(adapters: Adapters) -> "CheckLedger":
    """The check of the ledger: reads the whole table, and every segment of the seal."""
    from tallyman.services.sealing.check_ledger import CheckLedger

    return CheckLedger(adapters.every_entry, adapters.seal_list, adapters.state, adapters.clock)
