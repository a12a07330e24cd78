/* The EEPROM with the card's address (a 93C46: 64 words, by Microwire or by the EERD register), and
 * the PHY, a Marvell 88E1011 whose link is always up. */
#include "device/net/e1000_internal.h"

#define EECD_CLOCK   BIT(0)
#define EECD_SELECT  BIT(1)
#define EECD_IN      BIT(2)
#define EECD_OUT     BIT(3)
#define EECD_REQUEST BIT(6)
#define EECD_GRANT   BIT(7)
#define EECD_PRESENT BIT(8)
#define EECD_STORED  (EECD_CLOCK | EECD_SELECT | EECD_IN | EECD_REQUEST)

#define EERD_START BIT(0)
#define EERD_DONE  BIT(4)

#define EEPROM_WORDS    64
#define EEPROM_SUM      0xbaba /* of all words */
#define EEPROM_CHECKSUM 0x3f

/* A command: start bit, two of the operation, six of the address. */
#define COMMAND_BITS 9
#define COMMAND_READ 6 /* with the start bit */
#define LAST_BIT     (COMMAND_BITS + 16)

static uint16_t fixed_word(const struct e1000 *card, unsigned address)
{
	switch (address) {
	case 0 ... 2:
		return (uint16_t)(card->mac[2 * address] | card->mac[2 * address + 1] << 8);
	case 0x0a: /* initialization control 1: signature */
		return 0x4408;
	case 0x0b:
		return card->function.description.subsystem;
	case 0x0c:
		return card->function.description.subsystem_vendor;
	case 0x0d:
		return card->function.description.device;
	case 0x0e:
		return card->function.description.vendor;
	default:
		return 0;
	}
}

static uint16_t eeprom_word(const struct e1000 *card, unsigned address)
{
	uint16_t sum = 0;

	if (address >= EEPROM_WORDS)
		return 0xffff;
	if (address != EEPROM_CHECKSUM)
		return fixed_word(card, address);
	for (unsigned i = 0; i < EEPROM_CHECKSUM; i++)
		sum = (uint16_t)(sum + fixed_word(card, i));
	return (uint16_t)(EEPROM_SUM - sum);
}

static bool bit_out(const struct e1000 *card)
{
	const struct e1000_state *state = &card->state;
	unsigned address = state->eeprom_command & (EEPROM_WORDS - 1);

	if (state->eeprom_command >> 6 != COMMAND_READ)
		return true; /* ready */
	if (state->eeprom_bits <= COMMAND_BITS)
		return false;
	return eeprom_word(card, address) >> (LAST_BIT - state->eeprom_bits) & 1;
}

uint32_t e1000_read_eecd(struct e1000 *card)
{
	uint32_t value = *e1000_register(card, E1000_EECD) | EECD_PRESENT;

	if (value & EECD_REQUEST)
		value |= EECD_GRANT;
	return value | (bit_out(card) ? EECD_OUT : 0);
}

/* The clock has risen. */
static void shift(struct e1000_state *state, bool in)
{
	if (state->eeprom_bits < COMMAND_BITS) {
		if (!state->eeprom_bits && !in)
			return; /* no start bit yet */
		state->eeprom_command = (uint16_t)(state->eeprom_command << 1 | in);
		state->eeprom_bits++;
	} else if (state->eeprom_bits < LAST_BIT) {
		state->eeprom_bits++;
	} else { /* the next word follows */
		state->eeprom_command =
			(uint16_t)((state->eeprom_command & ~(EEPROM_WORDS - 1)) |
				   ((state->eeprom_command + 1) & (EEPROM_WORDS - 1)));
		state->eeprom_bits = COMMAND_BITS + 1;
	}
}

void e1000_write_eecd(struct e1000 *card, uint32_t value)
{
	uint32_t *eecd = e1000_register(card, E1000_EECD), old = *eecd;

	*eecd = value & EECD_STORED;
	if (!(value & EECD_SELECT))
		card->state.eeprom_bits = card->state.eeprom_command = 0;
	else if (value & ~old & EECD_CLOCK)
		shift(&card->state, value & EECD_IN);
}

void e1000_write_eerd(struct e1000 *card, uint32_t value)
{
	uint32_t address = value >> 8 & 0xff;

	if (value & EERD_START)
		*e1000_register(card, E1000_EERD) =
			(uint32_t)eeprom_word(card, address) << 16 | address << 8 | EERD_DONE;
}

/* --- the PHY --- */

#define MDIC_ADDRESS(value)  ((value) >> 21 & 31)
#define MDIC_REGISTER(value) ((value) >> 16 & 31)
#define MDIC_WRITE           BIT(26)
#define MDIC_READ            BIT(27)
#define MDIC_READY           BIT(28)
#define MDIC_INTERRUPT       BIT(29)
#define MDIC_ERROR           BIT(30)
#define PHY_ADDRESS          1

#define PHY_CONTROL       0
#define PHY_CONTROL_RESET 0x8200 /* reset and restart of the negotiation end at once */

static const struct {
	uint16_t value, writable;
} phy_registers[32] = {
	[PHY_CONTROL] = {0x1140, 0x7fff},
	[1] = {0x796d, 0},      /* status: link up, negotiated */
	[2] = {0x0141, 0},      /* Marvell */
	[3] = {0x0c20, 0},      /* 88E1011 */
	[4] = {0x0de1, 0xffff}, /* what is advertised */
	[5] = {0x4de1, 0},      /* what the partner can do */
	[6] = {0x0005, 0},
	[9] = {0x0e00, 0xffff}, /* 1000BASE-T control and status */
	[10] = {0x3c00, 0},
	[15] = {0x3000, 0},
	[16] = {0x0360, 0xffff}, /* of the 88E1011's own: control */
	[17] = {0xac08, 0},      /* status: 1000 Mbit/s, full duplex, link up */
	[18] = {0, 0xffff},
	[20] = {0x0d60, 0xffff},
	[29] = {0, 0xffff},
	[30] = {0, 0xffff},
};

void e1000_reset_phy(struct e1000 *card)
{
	for (unsigned i = 0; i < ARRAY_SIZE(phy_registers); i++)
		card->state.phy[i] = phy_registers[i].value;
}

static void write_phy(struct e1000 *card, unsigned number, uint16_t value)
{
	uint16_t writable = phy_registers[number].writable;

	if (number == PHY_CONTROL && (value & 0x8000))
		e1000_reset_phy(card);
	else
		card->state.phy[number] =
			(uint16_t)((card->state.phy[number] & ~writable) | (value & writable));
	if (number == PHY_CONTROL) {
		card->state.phy[number] &= (uint16_t)~PHY_CONTROL_RESET;
		e1000_interrupt(card, value & PHY_CONTROL_RESET ? E1000_INTERRUPT_LSC : 0);
	}
}

void e1000_write_mdic(struct e1000 *card, uint32_t value)
{
	uint32_t *mdic = e1000_register(card, E1000_MDIC);
	unsigned number = MDIC_REGISTER(value);

	*mdic = (value & (uint32_t)~MDIC_ERROR) | (uint32_t)MDIC_READY;
	if (MDIC_ADDRESS(value) != PHY_ADDRESS)
		*mdic |= (uint32_t)MDIC_ERROR;
	else if (value & MDIC_WRITE)
		write_phy(card, number, (uint16_t)value);
	else if (value & MDIC_READ)
		*mdic = (*mdic & 0xffff0000) | card->state.phy[number];
	if (value & MDIC_INTERRUPT)
		e1000_interrupt(card, E1000_INTERRUPT_MDAC);
}
