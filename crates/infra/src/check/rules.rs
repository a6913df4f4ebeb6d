//! Lists the rules: number, severity, source, words in French and English, and who looks.

use super::{
    Input, Seen, access, backup, capacity, encryption, logging, residency, separation, transfers, transit,
};
use crate::finding::Severity;

/// One rule.
pub struct Rule {
    pub id: &'static str,
    pub severity: Severity,
    /// Where the requirement stands.
    pub source: &'static str,
    pub english: &'static str,
    pub french: &'static str,
    pub stage: Stage,
}

/// Who can decide a rule.
#[derive(Clone, Copy)]
pub enum Stage {
    /// A configuration or a plan shows it.
    Files(fn(&Input<'_>, &mut Seen)),
    /// The gate of a deployment, or the running system.
    Elsewhere,
}

const fn rule(
    id: &'static str,
    severity: Severity,
    source: &'static str,
    english: &'static str,
    french: &'static str,
    stage: Stage,
) -> Rule {
    Rule { id, severity, source, english, french, stage }
}

use Severity::{Critical, High, Medium};
use Stage::{Elsewhere, Files};

/// In the order of their numbers.
pub const RULES: &[Rule] = &[
    rule(
        "R-01",
        Critical,
        "HDS 2.0 EXI 28; RGPD art. 44",
        "Data is stored in allowed regions of the EEA",
        "Les données sont stockées dans des régions autorisées de l'EEE",
        Files(residency::regions),
    ),
    rule(
        "R-02",
        Critical,
        "HDS 2.0 EXI 05.C, 28 à 31",
        "Who decrypts is a certified host",
        "Tout intermédiaire qui déchiffre est un hébergeur certifié",
        Files(residency::intermediaries),
    ),
    rule(
        "R-03",
        Critical,
        "HDS 2.0 EXI 28, 31",
        "Nothing of a patient is kept at the edge",
        "Aucune donnée de patient n'est conservée en périphérie",
        Files(residency::edge),
    ),
    rule(
        "R-04",
        Critical,
        "RGPD art. 32.1.a; ISO 27001 A.8.24; PGSSI-S 7.4.4.6",
        "Data at rest is encrypted with keys of one's own",
        "Les données au repos sont chiffrées avec des clés maîtrisées",
        Files(encryption::at_rest),
    ),
    rule(
        "R-05",
        Critical,
        "RGPD art. 32; Clausier santé O-8.1",
        "Data in transit is encrypted with TLS 1.2 or newer",
        "Les données en transit sont chiffrées en TLS 1.2 ou plus récent",
        Files(transit::encrypted),
    ),
    rule(
        "R-06",
        Critical,
        "PGSSI-S 7.2.1.1, 7.2.2.1-2; HDS 2.0 EXI 15, 16",
        "Every access leaves a trace",
        "Tout accès laisse une trace",
        Files(logging::sources),
    ),
    rule(
        "R-07",
        High,
        "CNIL 2021-122; ISO 27001 A.8.15",
        "Nobody can change a trace afterwards",
        "Nul ne peut modifier une trace après coup",
        Files(logging::integrity),
    ),
    rule(
        "R-08",
        Critical,
        "PGSSI-S 7.2.2.5; CNIL 2021-122",
        "Traces are kept six months to a year",
        "Les traces sont conservées de six mois à un an",
        Files(logging::retention),
    ),
    rule(
        "R-09",
        Critical,
        "RGPD art. 5.1.c et f; guide CNIL 10.2",
        "No data of a patient in logs and metrics",
        "Aucune donnée de patient dans les journaux et métriques",
        Files(logging::personal_data),
    ),
    rule(
        "R-10",
        Critical,
        "HDS activité 6; PGSSI-S 7.4; ISO 27001 A.8.13",
        "Backups are kept 35 days, elsewhere too, and locked",
        "Les sauvegardes sont gardées 35 jours, aussi ailleurs, et verrouillées",
        Files(backup::kept),
    ),
    rule(
        "R-11",
        High,
        "RGPD art. 32.1.c; PGSSI-S 7.4.5.2",
        "A restore was tried within 90 days",
        "Une restauration a été testée depuis moins de 90 jours",
        Elsewhere,
    ),
    rule(
        "R-12",
        Critical,
        "PGSSI-S 7.4.2.1",
        "A backup exists before a change",
        "Une sauvegarde précède tout changement",
        Elsewhere,
    ),
    rule(
        "R-13",
        High,
        "PGSSI-S 7.4.2.4",
        "Programs are kept as long as their data can be restored",
        "Les programmes sont gardés tant que leurs données sont restaurables",
        Files(backup::images),
    ),
    rule(
        "R-14",
        Critical,
        "ISO 27001 A.8.31; PGSSI-S 6.5.2.4; Clausier santé O-12.5.12",
        "Environments are apart",
        "Les environnements sont séparés",
        Files(separation::apart),
    ),
    rule(
        "R-15",
        Critical,
        "PGSSI-S 6.5.2.5; CNIL 11.4; ISO 27001 A.8.33",
        "No real data in tests",
        "Aucune donnée réelle en test",
        Files(separation::origin),
    ),
    rule(
        "R-16",
        Critical,
        "ISO 27001 A.8.2; A.5.15",
        "Rights are the least that suffice",
        "Les droits sont réduits au nécessaire",
        Files(access::least),
    ),
    rule(
        "R-17",
        Critical,
        "ISO 27001 A.8.8; PGSSI-S 6.5.2.3; Clausier santé O-7.2",
        "Known weaknesses are corrected in time",
        "Les vulnérabilités connues sont corrigées à temps",
        Elsewhere,
    ),
    rule(
        "R-18",
        Critical,
        "ISO 27001 A.8.25, A.8.28",
        "What runs is what was built",
        "Ce qui s'exécute est ce qui a été construit",
        Elsewhere,
    ),
    rule(
        "R-19",
        Critical,
        "ISO 27001 A.8.32; PGSSI-S 6.5.2.1/2/7",
        "Changes are approved and recorded",
        "Les changements sont approuvés et consignés",
        Elsewhere,
    ),
    rule(
        "R-20",
        Critical,
        "PGSSI-S 6.5.2.1/4; ISO 27001 A.8.29",
        "What is shipped was accepted in staging",
        "Ce qui est livré a été recetté",
        Elsewhere,
    ),
    rule(
        "R-21",
        High,
        "ISO 27001 A.8.6; PGSSI-S 7.1.3.3",
        "Capacities suffice",
        "Les capacités suffisent",
        Files(capacity::suffices),
    ),
    rule(
        "R-22",
        High,
        "ISO 27001 A.5.30; PGSSI-S 7.5.3.1; CNIL 18.2",
        "Continuity was drilled within 180 days",
        "La continuité a été exercée depuis moins de 180 jours",
        Elsewhere,
    ),
    rule(
        "R-23",
        Medium,
        "HDS 2.0 EXI 18, 21",
        "Availability is measured",
        "La disponibilité est mesurée",
        Elsewhere,
    ),
    rule(
        "R-24",
        Critical,
        "ISO 27001 A.8.24; Clausier santé O-12.5.9",
        "No secret in configuration or state",
        "Aucun secret dans la configuration ni dans l'état",
        Files(access::secrets),
    ),
    rule(
        "R-25",
        Medium,
        "PGSSI-S 7.2.2.3; ISO 27001 A.8.17",
        "Clocks agree",
        "Les horloges concordent",
        Elsewhere,
    ),
    rule(
        "R-26",
        Medium,
        "RGPD art. 33",
        "An incident is told within 72 hours",
        "Un incident est notifié sous 72 heures",
        Elsewhere,
    ),
    rule(
        "R-27",
        Medium,
        "HDS 2.0 EXI 27",
        "Data can be taken elsewhere",
        "Les données sont réversibles",
        Elsewhere,
    ),
    rule(
        "R-28",
        Medium,
        "HDS 2.0 EXI 31",
        "A map says who holds data",
        "Une carte dit qui détient les données",
        Files(transfers::complete),
    ),
    rule(
        "R-29",
        Medium,
        "HDS 2.0 EXI 07",
        "Reports are in French",
        "Les rapports existent en français",
        Files(transfers::french),
    ),
];
